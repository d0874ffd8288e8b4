"""Prometheus and promtool: those of the machine, else those of Debian's package."""

from __future__ import annotations

import shutil

from tests.support.debian import MissingProgramError, unpack


def program(name: str) -> str:
    """Return the path of ``prometheus`` or ``promtool``. Raises ``MissingProgramError``."""
    if found := shutil.which(name):
        return found
    try:
        return str(unpack("prometheus") / "usr" / "bin" / name)
    except MissingProgramError as exc:
        raise MissingProgramError(
            "These tests need prometheus and promtool. Install Debian's package prometheus, or put"
            f" both on PATH. Its download failed: {exc}"
        ) from exc
