"""Programs that tests need and the machine lacks, from Debian's packages."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

UNPACKED = Path(sys.prefix) / "debian"
"""In the environment of the tests: no other user of the machine can put a program there."""
_WAITS = ("-o", "DPkg::Lock::Timeout=300")
"""Seconds, where another process of the machine installs something."""
_TIMEOUT = 600
"""Seconds for one command."""


class MissingProgramError(Exception):
    """A program is not there, and cannot be installed."""


@contextmanager
def alone() -> Iterator[None]:
    """Keep out other processes that run the tests of this checkout."""
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(*packages: str) -> None:
    """Install packages, if root runs the tests. Call it in :func:`alone`.

    Raises ``MissingProgramError``, which says what to install.
    """
    names = " ".join(packages)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise MissingProgramError(
            f"Only root on Debian can install {names} here. Install it (apt-get install {names}),"
            " and run the tests again."
        )
    run("apt-get", "update", "--quiet")
    run("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *_WAITS, *packages)


def unpack(package: str) -> Path:
    """Return a folder with the files of a package, which is not installed: it starts no server.

    Raises ``MissingProgramError``.
    """
    there = UNPACKED / package
    with alone():
        if not there.exists():
            UNPACKED.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=UNPACKED) as folder:
                _unpack(package, Path(folder)).rename(there)  # all of it, or nothing
    return there


def _unpack(package: str, folder: Path) -> Path:
    download = ("apt-get", "download", "--quiet", package)
    try:
        run(*download, cwd=folder)
    except MissingProgramError:
        run("apt-get", "update", "--quiet")  # an image comes without lists
        run(*download, cwd=folder)
    [file] = folder.glob("*.deb")
    run("dpkg", "-x", str(file), str(folder / "files"))
    return folder / "files"


def run(*words: str, cwd: Path | None = None) -> None:
    """Run a command that must not ask anything. Raises ``MissingProgramError`` if it fails."""
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise MissingProgramError(f"{' '.join(words)} failed: {exc}") from exc
    if done.returncode:
        raise MissingProgramError(f"{' '.join(words)} failed: {done.stderr.strip()[-500:]}")
