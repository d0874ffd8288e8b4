"""Run a site of the sandbox as a process of its own, on a free port. It needs no Django."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import IO, TYPE_CHECKING, Any, Final, Self, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MANAGE: Final = Path(__file__).parents[1] / "manage.py"
GREETING: Final = b"Listening on "
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running server. Leaving the ``with`` block stops it."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    """What the server writes to standard error."""

    @classmethod
    def start(
        cls,
        settings: str,
        data_dir: Path,
        *options: str,
        port: int = 0,
        env: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Self:
        """Start ``manage.py serve`` of a site and wait until it listens.

        ``settings`` names the site, ``data_dir`` is where its files go, ``options`` are more
        options of ``serve``, ``port`` 0 is a free one, ``env`` is added to the environment,
        ``timeout`` is in seconds. Raises ``RuntimeError`` with the server's last words.
        """
        data_dir.mkdir(parents=True, exist_ok=True)
        log = data_dir / f"{settings.partition('.')[0]}.log"
        command = [sys.executable, str(MANAGE), "serve", f"--settings={settings}"]
        command += [f"--port={port}", "--stop-with-parent", *options]
        with log.open("ab") as stderr:
            process = subprocess.Popen(  # noqa: S603 - our own manage.py
                command,
                env={**os.environ, "SANDBOX_DATA_DIR": str(data_dir), **(env or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                bufsize=0,
            )
        line = next_line(process, timeout)
        server = cls(process, line.removeprefix(GREETING).decode().strip(), log)
        if not line.startswith(GREETING):
            server.stop()
            raise RuntimeError(f"{settings} did not start: {log.read_text()[-2000:]}")
        return server

    @property
    def port(self) -> int:
        """The port it listens on, to start it again on the same one."""
        return int(self.url.rpartition(":")[2])

    def stop(self, grace: float = 5.0) -> int:
        """Stop the server, by force after ``grace`` seconds, and return its exit code."""
        self.process.terminate()
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
        # Closes the pipes. Not sooner: the end of its input would interrupt a server that ends.
        self.process.__exit__(None, None, None)
        return self.process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


def next_line(process: subprocess.Popen[bytes], timeout: float) -> bytes:
    """Read the next line that a process writes; it is killed if none comes in ``timeout`` s."""
    killer = Timer(timeout, process.kill)
    killer.start()
    try:
        return cast("IO[bytes]", process.stdout).readline()
    finally:
        killer.cancel()


@contextmanager
def signals_handled_by(handler: Any) -> Iterator[None]:
    """Have ``handler`` called for Ctrl-C, a polite kill, and a terminal that is closed."""
    before = [(number, signal.signal(number, handler)) for number in SIGNALS]
    try:
        yield
    finally:
        for number, old in before:
            signal.signal(number, old)


@contextmanager
def signals_held() -> Iterator[None]:
    """Put signals off to the end of the block: a server that is half started cannot be stopped."""
    came: list[int] = []
    with signals_handled_by(lambda *signalled: came.append(signalled[0])):
        try:
            yield
        except Exception:
            # The interrupted server's last words would only hide why it did not start.
            if not came:
                raise
    if came:
        raise KeyboardInterrupt
