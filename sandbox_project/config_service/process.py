"""Run one of the sandbox's servers as a process of its own, on a free port.

For the demo and the tests; it needs no Django.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MANAGE: Final = Path(__file__).parents[1] / "manage.py"
GREETING: Final = b"Listening on "


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
        *,
        port: int = 0,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Self:
        """Start ``manage.py serve`` of a site and wait until it listens.

        ``settings`` names the site, ``data_dir`` is where its files go, ``port`` 0 is a free one,
        ``options`` are more options of its ``serve``, ``env`` is added to the environment.
        Raise ``RuntimeError`` with the server's last words if it does not listen in time.
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
        line = first_line(cast("IO[bytes]", process.stdout), timeout)
        if not line.startswith(GREETING):
            stop(process)
            words = line.decode(errors="replace") + log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{settings} did not start: {words}")
        return cls(process, line.removeprefix(GREETING).decode().strip(), log)

    @property
    def port(self) -> int:
        """The port it listens on, to start it again on the same one."""
        return int(self.url.rpartition(":")[2])

    def stop(self) -> int:
        """Stop the server and return its exit code; again is harmless."""
        return stop(self.process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


def first_line(stream: IO[bytes], timeout: float) -> bytes:
    """Read one line from a pipe; what has come when it ends or the time is up."""
    line, end = b"", time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n") and selector.select(max(0.0, end - time.monotonic())):
            byte = os.read(stream.fileno(), 1)
            if not byte:
                break
            line += byte
    return line


def stop(process: subprocess.Popen[bytes], grace: float = 5.0) -> int:
    """End a process, by force after ``grace`` seconds, and return its exit code."""
    process.terminate()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    return process.returncode
