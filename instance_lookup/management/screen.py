"""What is watched on a terminal: each snapshot is drawn in the place of the one before."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOME = "\x1b[H"
_REST_OF_LINE = "\x1b[K"
_REST_OF_SCREEN = "\x1b[J"


def one_screen(lines: Sequence[str], *, columns: int, rows: int) -> str:
    """Return what draws ``lines`` over the screen, without flicker.

    It has ``columns`` and ``rows``. Lines for which there is no room are left out and counted: the
    terminal would scroll, and the next snapshot would not meet the place of this one.
    """
    heights = [1 + max(0, len(line) - 1) // columns for line in lines]
    room = rows - 1  # in the last row stands the cursor
    if sum(heights) > room:
        fitting = [each for each in accumulate(heights) if each < room]  # one is for the count
        left_out = len(lines) - len(fitting)
        lines = [*lines[: len(fitting)], f"({left_out} more lines: there is no room for them)"]
    drawn = "".join(f"{line}{_REST_OF_LINE}\n" for line in lines)
    return f"{_HOME}{drawn}{_REST_OF_SCREEN}"
