"""Programs that a test runs, and ends by their pid; servers get a free port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[2]
PYTHON_M = (sys.executable, "-m")


@contextmanager
def started(
    command: Sequence[str],
    log: Path,
    environ: Mapping[str, str],
    *,
    program: Sequence[str] = PYTHON_M,
    cwd: Path | str = ROOT,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, whose output is in ``log``; ``environ`` comes on top of ours. End it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*program, *command],
            cwd=cwd,
            env={**os.environ, **environ},
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with its children
            process.wait()
            raise


@contextmanager
def running(
    command: Sequence[str],
    directory: Path,
    *,
    program: Sequence[str] = PYTHON_M,
    cwd: Path | str = ROOT,
    **environ: str,
) -> Iterator[str]:
    """Run a server on a free port, and yield the site's address; ``directory`` gets its log.

    In ``command`` "{fd}" is the socket to serve, and "{tmp}" the directory.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        words = [part.format(fd=listener.fileno(), tmp=directory) for part in command]
        fds = [listener.fileno()]
        log = directory / "log"
        with started(words, log, environ, program=program, cwd=cwd, pass_fds=fds):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
