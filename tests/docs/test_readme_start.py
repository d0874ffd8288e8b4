"""The README's way from nothing to a first answer: its own commands in a shell, over real HTTP."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.support.documents import PAGES, STARTS, Block, blocks, section
from tests.support.server_process import free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PRINTED = "127.0.0.1:8000"
"""The address in the README. The tests put a free port into it, and change nothing else."""
SERVE = "python manage.py runserver"
TIMEOUT = 60
TOOLS = ("sh", "awk", "curl")
"""What the README's commands need beside Python."""


def environment() -> dict[str, str]:
    """Return what a newcomer's shell has after the installation: its ``python`` is this one."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DJANGO_", "PYTHON")) and not name.lower().endswith("_proxy")
    }
    return {**inherited, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@dataclass(frozen=True)
class Newcomer:
    """Pastes the README's blocks into files and a terminal."""

    folder: Path
    port: int
    blocks: list[Block]

    @classmethod
    def following(cls, folder: Path, found: list[Block]) -> Newcomer:
        """Return a newcomer to these blocks, who has installed the package."""
        return cls(folder, free_port(), [block for block in found if block.runs])

    def paste(self, block: Block) -> None:
        """Add a block to the end of its file, or run its commands."""
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(block.text)
        else:
            self.printed(self.script(block))

    def printed(self, script: str) -> str:
        """Return what commands print, all of which must succeed."""
        done = self.run(script)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-e", "-c", script],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    def script(self, block: Block) -> str:
        """Return the commands of a block."""
        lines = re.findall(r"^\$ (.+)$", block.text, re.MULTILINE)
        return "\n".join(lines).replace(PRINTED, self.address)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @contextmanager
    def serving(self, block: Block) -> Iterator[None]:
        """Run a block whose last command serves, until the end of the ``with`` block."""
        script = self.script(block)
        assert script.endswith(SERVE)
        log = self.folder.parent / "runserver.log"
        with (
            log.open("wb") as output,
            subprocess.Popen(
                ["sh", "-e", "-c", f"{script} {self.port}"],
                cwd=self.folder,
                env=environment(),
                stdout=output,
                stderr=output,
                start_new_session=True,
            ) as process,
        ):
            try:
                wait_until(lambda: process.poll() is not None or self.answers(), TIMEOUT)
                assert process.poll() is None, log.read_text(encoding="utf-8")
                yield
            finally:
                # The development server is two processes, and the shell is a third.
                if process.poll() is None:
                    os.killpg(process.pid, SIGTERM)

    def answers(self) -> bool:
        try:
            return requests.get(f"http://{self.address}/", timeout=TIMEOUT).status_code > 0
        except requests.ConnectionError:
            return False


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """A newcomer who has pasted everything up to the development server, which runs."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.fail(f"The README's commands need {', '.join(missing)}: install what is missing.")
    folder = tmp_path_factory.mktemp("newcomer") / "mysite"
    folder.mkdir()
    newcomer = Newcomer.following(folder, section("README.md", STARTS))
    serves = next((n for n, block in enumerate(newcomer.blocks) if SERVE in block.text), None)
    assert serves, "the README starts no server"
    for block in newcomer.blocks[:serves]:
        newcomer.paste(block)
    with newcomer.serving(newcomer.blocks[serves]):
        yield newcomer


def with_curl(newcomer: Newcomer) -> list[Block]:
    return [block for block in newcomer.blocks if "$ curl" in block.text]


def shown(block: Block) -> Any:
    """Return the JSON that a block says its commands print."""
    return json.loads(re.sub(r"^\$ .*\n", "", block.text, flags=re.MULTILINE))


def test_curl_prints_what_is_shown(newcomer: Newcomer) -> None:
    """The owner's configuration for the owner, a 403 for a caller who has not logged in."""
    calls = with_curl(newcomer)
    printed = [json.loads(newcomer.printed(newcomer.script(block))) for block in calls]

    assert [answer.get("status", answer) for answer in printed] == [
        {"instance": "acme", "beta": True},
        403,
    ]
    for block, answer in zip(calls, printed, strict=True):
        expected = shown(block)
        assert answer.keys() == expected.keys()
        assert answer | {"request_id": ""} == expected | {"request_id": ""}


def test_curl_as_another_user_prints_a_403(newcomer: Newcomer) -> None:
    """The README's second user may log in, and may not have the instance."""
    script = newcomer.script(with_curl(newcomer)[0])
    assert "username=olga" in script
    answer = json.loads(newcomer.printed(script.replace("username=olga", "username=sam")))

    assert (answer["status"], answer["instance_id"]) == (403, "acme")


@pytest.mark.parametrize(("user", "status"), [("olga", 200), ("sam", 403)])
def test_browser_gets_there_without_a_header(newcomer: Newcomer, user: str, status: int) -> None:
    """The two addresses of the README, with its users and its password."""
    prose = PAGES["README.md"].read_text(encoding="utf-8").partition("In a browser")[2]
    admin, page = re.findall(rf"<(http://{PRINTED}/.+?)>", prose)[:2]
    with requests.Session() as browser:
        browser.trust_env = False
        browser.headers["Accept"] = "text/html,*/*;q=0.8"
        form = browser.get(admin.replace(PRINTED, newcomer.address), timeout=TIMEOUT)
        fields = {"csrfmiddlewaretoken": browser.cookies["csrftoken"], "next": "/admin/"}
        fields |= {"username": user, "password": "sesame"}
        assert browser.post(form.url, fields, timeout=TIMEOUT).history, "not logged in"
        answer = browser.get(page.replace(PRINTED, newcomer.address), timeout=TIMEOUT)

    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"instance": "acme", "beta": True}


@pytest.mark.extras
def test_production_settings_pass_our_checks(newcomer: Newcomer) -> None:
    """The next page's commands set what its settings read. Django alone finds something."""
    production = Newcomer.following(newcomer.folder, blocks("production.md"))
    for block in production.blocks:
        if block.file:
            production.paste(block)
    [check] = [block for block in production.blocks if not block.file]
    done = production.run(production.script(check))

    assert "System check identified" in done.stdout + done.stderr
    assert "instance_lookup" not in done.stdout + done.stderr
