"""How far a command is: one line on a terminal, drawn again and again; else nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.core.management.base import OutputWrapper

BAR = 30


class Progress:
    """A progress bar on ``stream``, if that is a terminal.

    ``total`` is how many there are; ``None``: not known, and it shows a count. Nothing is shown
    unless it is ``enabled``.
    """

    def __init__(self, stream: OutputWrapper, total: int | None, *, enabled: bool = True) -> None:
        self._stream = stream
        self._total = total
        self._enabled = enabled and stream.isatty()
        self._width = 0

    def draw(self, done: int, failed: int) -> None:
        """Show that ``done`` are done, of which ``failed`` failed."""
        line = progress_line(done, self._total, failed)
        self._write("\r" + line.ljust(self._width))
        self._width = len(line)

    def clear(self) -> None:
        """Make room for a line of text."""
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0

    def _write(self, text: str) -> None:
        if self._enabled:
            self._stream.write(text, str, ending="")
            self._stream.flush()


def progress_line(done: int, total: int | None, failed: int) -> str:
    """Return the line that shows it, such as ``[#####.....] 6/12, 1 failed``.

    Of ``total`` (``None``: not known), ``done`` are done, of which ``failed`` failed.
    """
    failures = f", {failed} failed" if failed else ""
    if not total:
        return f"{done} done{failures}"
    filled = BAR * done // total
    return f"[{'#' * filled}{'.' * (BAR - filled)}] {done}/{total}{failures}"
