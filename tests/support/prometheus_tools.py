"""Prometheus and promtool: those of the machine, else those of Debian's package."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

_UNPACKED = Path(tempfile.gettempdir()) / "instance-lookup-prometheus"


class MissingProgramError(Exception):
    """The program is not there and could not be installed."""


def program(name: str) -> str:
    """Return the path of ``prometheus`` or ``promtool``.

    Where there is none, Debian's package is downloaded and unpacked, not installed: no service is
    started. Raises ``MissingProgramError``.
    """
    if found := shutil.which(name):
        return found
    _UNPACKED.mkdir(exist_ok=True)
    unpacked = _UNPACKED / "usr" / "bin" / name
    with (_UNPACKED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of the tests come together
        if not unpacked.exists():
            _unpack()
    return str(unpacked)


def _unpack() -> None:
    try:
        if _run("apt-get", "download", "prometheus").returncode:
            _run("apt-get", "update")  # an image comes without lists
            _run("apt-get", "download", "prometheus").check_returncode()
        package = max(_UNPACKED.glob("prometheus_*.deb"))
        _run("dpkg", "-x", str(package), str(_UNPACKED)).check_returncode()
    except (OSError, ValueError, subprocess.SubprocessError) as exc:
        raise MissingProgramError(
            f"These tests need prometheus and promtool, and apt-get could not fetch them ({exc})."
            " Install Debian's package prometheus, or put both on PATH."
        ) from exc


def _run(*command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, cwd=_UNPACKED, capture_output=True, check=False, timeout=300)
