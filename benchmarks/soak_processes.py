"""The processes of a soak: the Config Service, the balancers in front of it and Redis, the site."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent


class Service:
    """The Config Service's process, which can be ended and started again on the same port."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [sys.executable, "-m", "benchmarks.soak_service"]
        command += [str(self._directory), str(self.port)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        self._process = process
        assert process.stdout is not None
        self.port = int(process.stdout.readline())

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class Balancer:
    """A process in front of a port, which can forget the connections that are idle."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.soak_balancer", str(self._upstream)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()

    def forget(self) -> None:
        """Answer the next packet of each connection that is idle now with RST."""
        assert self._process.stdin is not None
        self._process.stdin.write("forget\n")
        self._process.stdin.flush()


@contextmanager
def site(redis_url: str, service_url: str, directory: Path) -> Iterator[int]:
    """Run the site with gunicorn on a free port, and yield the port."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        command = [sys.executable, "-m", "gunicorn", "benchmarks.soak_site:wsgi()", "--preload"]
        command += ["--bind", f"fd://{listener.fileno()}", "--workers", "4", "--threads", "4"]
        command += ["--keep-alive", "60", "--no-control-socket", "--graceful-timeout", "3"]
        command += ["--worker-tmp-dir", str(directory)]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "SOAK_REDIS_URL": redis_url, "SOAK_SERVICE_URL": service_url},
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield int(listener.getsockname()[1])
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
