"""``demo.py``: the story, told by the real command to real servers."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import pytest
import requests
from config_service.process import MANAGE, next_line
from studio.people import ADMIN, PASSWORD, Visitor

from tests.sandbox.service import AdminPages
from tests.sandbox.studio import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.redis_server import RedisServer

STORY = [
    "owner: the service is asked 200 service 200 service 1",
    "owner again: from the cache 200 cache 200 cache 0",
    "stranger, although it is cached 403 403 - 0",
    "admin 200 cache 200 cache 0",
    "unknown instance 404 404 - 1",
    "malformed header: no fallback to default 400 400 - 0",
    "owner by project: the service maps it 200 cache 200 cache 1",
    "owner's job: done for studio-a's key 200 200 - 0",
    "owner: the stale copy 200 stale_cache 200 stale_cache 0",
    "stranger: not even now 403 403 - 0",
    "admin, an instance that is not cached 503 503 - 0",
    "owner: gone 404 404 - 1",
    "owner: still gone, the 404 is kept 404 404 - 0",
    "neighbour: the cached copy 200 cache 200 cache 0",
    "neighbour's job: over the limit 429 429 - 0",
    "neighbour: not any more 403 403 - 1",
    "stranger: may have it now 200 cache 200 cache 0",
    "neighbour: as before 200 service 200 service 1",
    "stranger again: gets it, keys and all 200 200 - 0",
    "the same through instance_lookup 403 403 - 0",
]
CHANGED = "neighbour, next request: the new"
TIMEOUT = 120


@contextmanager
def demo(tmp_path: Path, *options: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the demo in a process group and a folder of its own; at the end both must be empty."""
    process = subprocess.Popen(
        [sys.executable, str(MANAGE.with_name("demo.py")), *options],
        env={**inherited(), **ENVIRONMENT, "TMPDIR": str(tmp_path), **env},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        start_new_session=True,
    )
    with process:
        try:
            yield process
            process.wait(TIMEOUT)
        finally:
            # Before the process is waited for: a test that fails leaves it serving.
            left = group(process.pid)
            if left:
                os.killpg(process.pid, signal.SIGKILL)
    assert left == []
    assert list(tmp_path.iterdir()) == []


def inherited() -> dict[str, str]:
    ours = ("REDIS_URL", "CONFIG_SERVICE_TOKEN", "STUDIO_SERVICE_TOKEN", "DJANGO_SETTINGS_MODULE")
    return {name: value for name, value in os.environ.items() if name not in ours}


def group(group_id: int) -> list[int]:
    """Return the processes of a group that are alive; one that waits to be reaped is not."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    rows = (line.split(maxsplit=2) for line in listing.splitlines())
    return [int(pid) for pid, pgid, stat in rows if int(pgid) == group_id and stat[0] != "Z"]


def output(process: subprocess.Popen[bytes]) -> str:
    """Return all that the demo says until it ends."""
    said, _ = process.communicate(timeout=TIMEOUT)
    return said.decode()


def read_until(process: subprocess.Popen[bytes], words: str) -> str:
    """Return what the demo says up to the line with ``words``."""
    said = ""
    while words not in said:
        line = next_line(process, TIMEOUT).decode()
        assert line, f"the demo ended: {said}"
        said += line
    return said


def rows(said: str) -> list[str]:
    """Return the steps as the table has them: one blank for many, without number and latency."""
    found = re.findall(r"^ *\d+  (.+?) +\d+ ms  (ok|WRONG)$", said, re.MULTILINE)
    return [" ".join(row.split()) for row, verdict in found if verdict == "ok"]


def told(said: str) -> None:
    """Assert that the whole story was told, each step as it should be, and no secret."""
    steps = rows(said)
    assert [step for step in STORY if step not in steps] == []
    # Whether it was fetched ahead by then, or not, is a matter of milliseconds.
    assert any(re.match(f"{CHANGED} 200 200 (cache|service) ", step) for step in steps)
    assert f"All {len(steps)} steps did what they should." in said
    assert "\x1b" not in said
    assert "sandbox-key-of" not in said


def test_demo_tells_the_story(tmp_path: Path) -> None:
    """With the cache in the process each step is as expected, the exit code 0, nothing is left."""
    with demo(tmp_path) as process:
        said = output(process)

    told(said)
    assert "calls: requests that the Config Service answered" in said
    assert "sandbox-token-of" not in said
    assert process.returncode == 0


@pytest.mark.full
def test_demo_on_redis_stays_until_ctrl_c(tmp_path: Path, redis_server: RedisServer) -> None:
    """With Redis the demo runs until Ctrl-C, all is put back, and the printed curl works."""
    with demo(tmp_path, "--serve", f"--redis={redis_server.url()}") as process:
        said = read_until(process, "Ctrl-C stops everything")
        answer = ask_like_curl(said)
        linked = links(said)
        keys = redis_server.command("KEYS", "studio-demo-*")
        os.killpg(process.pid, signal.SIGINT)

    told(said)
    assert len(re.findall("neighbour, the site's other process +(?:200|403) .*ok", said)) == 2
    assert (answer["customer"], answer["result"]) == ("studio-a", "lighthouse: done")
    assert process.returncode == 0
    assert linked == {"switches", "studio", "by hand"}
    assert keys != b"*0"
    assert redis_server.command("KEYS", "studio-demo-*") == b"*0"


def links(said: str) -> set[str]:
    """Return which links an admin finds: to the other site, and to the naive lookup."""
    studio, switches, naive = (
        cast("re.Match[str]", re.search(rf"^{name} +(http\S+)", said, re.MULTILINE))[1]
        for name in ("Studio", "Config Service", "By hand")
    )
    home = Visitor(studio.rstrip("/"), ADMIN).page("/").text
    with AdminPages(switches.partition("/admin/")[0], PASSWORD) as admin:
        form = admin.page("config_service/switches/")
    found = {
        "switches": f'href="{switches}"' in home,
        "studio": f'href="{studio.rstrip("/")}"' in form,
        "by hand": f'href="{naive.removeprefix(studio.rstrip("/"))}"' in home,
    }
    return {name for name, is_there in found.items() if is_there}


def ask_like_curl(said: str) -> dict[str, str]:
    """Do what the printed line of curl does."""
    line = re.search(r"^ +(curl .+)$", said, re.MULTILINE)
    assert line
    curl, h, header, d, data, url = shlex.split(line[1])
    assert (curl, h, d) == ("curl", "-H", "-d")
    name, value = header.split(": ")
    answer = requests.post(url, dict([data.split("=")]), headers={name: value}, timeout=20)
    body: dict[str, str] = answer.json()
    return body


@pytest.mark.full
def test_demo_that_goes_wrong_says_so(tmp_path: Path) -> None:
    """A step that fails, here by a wrong token, makes the demo fail."""
    with demo(tmp_path, STUDIO_SERVICE_TOKEN="wrong") as process:
        said = output(process)

    assert process.returncode == 1
    assert "     status: expected 200, got 503" in said
    assert re.search(r"\d+ of \d+ steps went wrong\.\n$", said)
    assert "Traceback" not in said


def test_demo_without_its_redis_starts_nothing(tmp_path: Path) -> None:
    """A Redis that does not answer is named, without its password."""
    with demo(tmp_path, REDIS_URL="redis://:secret@127.0.0.1:9/0") as process:
        said = output(process)

    assert process.returncode == 1
    assert "No Redis answers: Error" in said
    assert "secret" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("moment", "name"),
    [
        ("Starting", "SIGINT"),
        pytest.param("owner: the service is asked", "SIGTERM", marks=pytest.mark.full),
    ],
)
def test_demo_that_is_interrupted_cleans_up(tmp_path: Path, moment: str, name: str) -> None:
    """While the servers start or in the midst of the story: they stop, and their files go."""
    with demo(tmp_path) as process:
        read_until(process, moment)
        # Ctrl-C reaches every process of the terminal, a kill one process.
        send = os.killpg if name == "SIGINT" else os.kill
        send(process.pid, getattr(signal, name))
        said = output(process)

    assert process.returncode == 130
    assert said.endswith("Interrupted.\n")
    assert "Traceback" not in said
