"""How often something may begin."""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Pace:
    """Lets at most ``rate`` things a second begin, evenly: two are never closer than 1 / rate.

    It is for one thread, which begins them all.
    """

    def __init__(self, rate: float | None, clock: Callable[[], float] = monotonic) -> None:
        """Begin at once. ``rate`` ``None``: as many as come. ``clock`` returns seconds."""
        self._gap = 0.0 if rate is None else 1 / rate
        self._clock = clock
        self._next = -inf

    def left(self) -> float:
        """Return the seconds until the next may begin, 0.0 where it may now."""
        return max(0.0, self._next - self._clock())

    def begin(self) -> None:
        """Note that one begins now. What begins late does not make the next one come earlier."""
        self._next = self._clock() + self._gap
