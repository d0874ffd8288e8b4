"""How long each thing that failed is left alone, so that it costs the others nothing."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from msgspec import Struct

from instance_lookup.resilience.expiring import Expiring

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_FIRST = 1.0
"""Seconds after a first failure: it may have been a blip."""
_MOST_DOUBLINGS = 30
"""Where a number would grow without need."""


class Failure(Struct, frozen=True):
    """The last failure of one thing."""

    at: float
    """On the monotonic clock."""
    until: float
    """When it may be asked again, on that clock."""
    in_a_row: int


class Backoff(Expiring[Failure]):
    """Pauses after failures: 1 s after the first, then 2 s, 4 s … up to ``longest``."""

    def __init__(self, longest: float, *, clock: Callable[[], float] = monotonic) -> None:
        # Twice as long: a failure right after the longest pause is still one in the row.
        super().__init__(2 * longest, clock=clock)
        self._longest = longest

    def failed(self, key: Hashable, *, at_least: float = 0.0) -> float:
        """Note a failure of ``key``; return the seconds of its pause, ``at_least`` so many.

        Calls that were under way together count as one failure. There is no lock around the two
        steps: threads that get here together read the same "before", and write the same.
        """
        now, before = self._clock(), self.get(key)
        in_a_row = before.in_a_row + (now >= before.until) if before else 1
        doubled = _FIRST * 2.0 ** min(in_a_row - 1, _MOST_DOUBLINGS)
        pause: float = max(at_least, min(self._longest, doubled))
        self.put(key, Failure(now, now + pause, in_a_row))
        return pause

    def pause(self, key: Hashable) -> float:
        """Return the seconds until ``key`` may be asked; 0.0: now."""
        failure = self.get(key)
        return 0.0 if failure is None else max(0.0, failure.until - self._clock())

    def rests(self, key: Hashable) -> bool:
        """Tell whether callers who have a copy leave ``key`` alone: for ``longest``, or its pause.

        They lose nothing by it, so they wait for the longest pause from the first failure on.
        """
        failure = self.get(key)
        return failure is not None and self._clock() < max(
            failure.until, failure.at + self._longest
        )
