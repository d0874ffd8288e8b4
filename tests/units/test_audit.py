"""The audit of what the package installs, by the real pip-audit, against an OSV of our own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.audit import VULNERABLE
from tests.support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.extras  # the environment `bare` has no pip-audit

SCRIPT = Path(__file__).parents[1] / "audit.py"


def vulnerable(name: str) -> dict[str, Any]:
    affected = [{"package": {"name": name, "ecosystem": "PyPI"}}]
    return {"vulns": [{"id": "PYSEC-2026-1", "summary": "It leaks.", "affected": affected}]}


class Osv(ThreadingHTTPServer):
    """Knows the vulnerability that everybody knows, and those of the packages ``bad``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bad: set[str] = set()
        self.asked: list[str] = []
        self.answer: Callable[[dict[str, Any]], bytes] = self.look_up
        self.url = f"http://127.0.0.1:{self.server_port}/v1/query"

    def look_up(self, query: dict[str, Any]) -> bytes:
        name = query["package"]["name"]
        self.asked.append(f"{name}=={query['version']}")
        is_bad = query == VULNERABLE or name in self.bad
        return json.dumps(vulnerable(name) if is_bad else {}).encode()


class Handler(BaseHTTPRequestHandler):
    server: Osv

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = self.server.answer(query)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Write nothing between the lines of the tests."""


@pytest.fixture
def osv() -> Iterator[Osv]:
    with Osv() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def pinned(tmp_path: Path) -> Path:
    file = tmp_path / "pinned.txt"
    file.write_text("requests==2.32.5\nurllib3==2.5.0\n", encoding="utf-8")
    return file


def audit(url: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--osv-url", url, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_nothing_known(osv: Osv, pinned: Path) -> None:
    """Packages without a vulnerability pass, and each was asked about."""
    done = audit(osv.url, "--requirements", pinned)
    assert (done.returncode, "No known vulnerabilities" in done.stderr) == (0, True), done
    assert sorted(osv.asked) == ["django==3.2", "requests==2.32.5", "urllib3==2.5.0"]


def test_vulnerability(osv: Osv, pinned: Path) -> None:
    """A package with a known vulnerability fails the run, which names both."""
    osv.bad = {"urllib3"}
    done = audit(osv.url, "--requirements", pinned)
    assert done.returncode == 1
    assert "PYSEC-2026-1" in done.stdout
    assert "urllib3" in done.stdout


@pytest.mark.parametrize(("arguments", "code"), [((), 0), (("--required",), 1)])
def test_no_service(arguments: tuple[str, ...], code: int) -> None:
    """Without a service the run says so, and fails only where an audit is required."""
    done = audit(f"http://127.0.0.1:{free_port()}/v1/query", *arguments)
    assert (done.returncode, done.stdout[:12]) == (code, "NOT AUDITED:")


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"vulns": []}', b"<html>Log in</html>", b"\xff"])
def test_something_else_answers(osv: Osv, body: bytes) -> None:
    """What knows no vulnerability at all, such as a mirror or a portal, is no audit."""
    osv.answer = lambda query: body
    done = audit(osv.url, "--required")
    assert (done.returncode, done.stdout[:12]) == (1, "NOT AUDITED:")
