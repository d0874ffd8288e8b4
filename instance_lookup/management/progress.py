"""How far a command is: one line on a terminal, drawn again and again; else nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.core.management.base import OutputWrapper

BAR = 30


class Progress:
    """A progress bar on ``stream``, if that is a terminal.

    ``total`` is how many there are; ``None``: not known, and it shows a count.
    """

    def __init__(self, stream: OutputWrapper, total: int | None) -> None:
        self._stream = stream
        self._total = total
        self._width = 0

    def draw(self, done: int, failed: int) -> None:
        """Show that ``done`` are done, of which ``failed`` failed."""
        if not self._stream.isatty():
            return
        line = f"{done} done"
        if self._total:
            filled = BAR * done // self._total
            line = f"[{'#' * filled}{'.' * (BAR - filled)}] {done}/{self._total}"
        if failed:
            line += f", {failed} failed"
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
