"""How far a command is: one line on a terminal, drawn again and again; else nothing."""

from __future__ import annotations

import shutil
from time import monotonic
from typing import TYPE_CHECKING

from instance_lookup.management.table import duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.core.management.base import OutputWrapper

BAR = 30
_TOO_SOON = 1.0
"""Seconds: how fast it is cannot be told before."""


class Progress:
    """A progress bar on ``stream``, if that is a terminal.

    ``total`` is how many there are, or returns that as of now; ``None``: not known, and it shows a
    count. ``clock`` returns seconds.
    """

    def __init__(
        self,
        stream: OutputWrapper,
        total: int | Callable[[], int] | None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._stream = stream
        self._total = total
        self._clock = clock
        self._began = clock()
        self._width = 0

    def draw(self, done: int, failed: int) -> None:
        """Show that ``done`` are done, of which ``failed`` failed; how fast, and the time left."""
        if not self._stream.isatty():
            return
        line = f"{done} done"
        if total := self._total() if callable(self._total) else self._total:
            filled = BAR * done // total
            line = f"[{'#' * filled}{'.' * (BAR - filled)}] {done}/{total}"
        if failed:
            line += f", {failed} failed"
        line += _speed(done, total, self._clock() - self._began)
        # A line that wraps would not be drawn over.
        line = line[: shutil.get_terminal_size().columns - 1]
        self._write("\r" + line.ljust(self._width))
        self._width = len(line)

    def clear(self) -> None:
        """Make room for a line of text."""
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0

    def _write(self, text: str) -> None:
        self._stream.write(text, str, ending="")
        self._stream.flush()


def _speed(done: int, total: int | None, seconds: float) -> str:
    """Return how many a second are done, and how long the others will take."""
    if seconds < _TOO_SOON:
        return ""
    rate = done / seconds
    left = f", {duration((total - done) / rate)} left" if total and total > done else ""
    speed = f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"
    return f", {speed}{left}"
