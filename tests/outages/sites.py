"""Sites on servers of several processes, in front of one service, and how they are asked."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from tests.support.servers import Answer, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.servers import Received, Script

ROOT = Path(__file__).parents[2]
PYTHON_M = (sys.executable, "-m")


class Service(ScriptedServer):
    """A service that knows every instance, and lets "slow" and "each-…" wait for ``released``."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.released = threading.Event()
        self.all_at_once = threading.Barrier(4, timeout=30)

    def answer(self, request: Received) -> Script:
        instance_id = request.path.rpartition("/")[2]
        if instance_id == "slow" and self.asked("slow") == 1:
            self.released.wait(60)
        if instance_id.startswith("each-"):
            self.all_at_once.wait()
        body = {"instance_id": instance_id, "features": {"open": True}}
        return Answer(body=json.dumps(body).encode())

    def asked(self, instance_id: str) -> int:
        return [request.path for request in self.received].count(f"/instances/{instance_id}")


@contextmanager
def running(
    command: list[str], directory: Path, *, program: Sequence[str] = PYTHON_M, **environ: str
) -> Iterator[str]:
    """Run a server on a free port, yield the site's address, and end it by its pid."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        arguments = [part.format(fd=listener.fileno(), tmp=directory) for part in command]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [*program, *arguments],
                cwd=ROOT,
                env={**os.environ, **environ},
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # with its workers
                process.wait()
                raise


def get(site: str, instance_id: str) -> requests.Response:
    """Ask a page of the site on a connection of its own."""
    with requests.Session() as session:
        session.trust_env = False
        headers = {"X-Instance-ID": instance_id, "Connection": "close"}
        return session.get(f"{site}/plain", headers=headers, timeout=30)


def get_all(site: str, instance_ids: list[str]) -> list[requests.Response]:
    """Ask for all of them at the same time."""
    with ThreadPoolExecutor(len(instance_ids)) as pool:
        return list(pool.map(lambda instance_id: get(site, instance_id), instance_ids))
