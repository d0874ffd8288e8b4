"""How many ids that do not exist one user may have the Config Service asked for."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING

from instance_lookup.concurrency.forks import Guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_LIMIT = 10_000
"""Users that are told apart. A forgotten user starts with a full budget."""
_MINUTE = 60.0
_UNLIMITED = 1_000_000
_ROUNDING = 1e-6
"""Seconds that a sum of shares of a minute may be off."""


class MissBudget(Guarded):
    """A token bucket for each user: ``size`` misses at once, and as many a minute."""

    def __init__(self, size: int | None, *, clock: Callable[[], float] = monotonic) -> None:
        """Let each user have ``size`` misses; ``None``: any number."""
        super().__init__()
        self._size = size
        self._clock = clock
        self._share = _MINUTE / size if size else 0.0
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def _start_over(self) -> None:
        super()._start_over()
        # Of calls under way: those of a parent do not end in its child.
        self._reserved: dict[Hashable, int] = {}

    def take(self, who: Hashable) -> float:
        """Reserve a miss for ``who``: return 0.0, or the seconds until there is one to take.

        The lock makes "is there one" and "take it" one step: of calls that start together no more
        get one than there are. :meth:`land` says what came of it.
        """
        with self._lock:
            if not (wait := self._wait(who, self._reserved.get(who, 0))):
                self._reserved[who] = self._reserved.get(who, 0) + 1
        return wait

    def land(self, who: Hashable, *, is_miss: bool) -> None:
        """Spend what was reserved, or give it back."""
        with self._lock:
            if (left := self._reserved[who] - 1) > 0:
                self._reserved[who] = left
            else:
                del self._reserved[who]
            if is_miss:
                self._spend(who)

    def spend(self, who: Hashable) -> None:
        """Note that ``who`` learned, without a call, of what the service does not know."""
        with self._lock:
            self._spend(who)

    def refund(self, who: Hashable) -> None:
        """Give back what ``who`` spent on what turned out to be no miss."""
        with self._lock:
            if who in self._full_at:
                self._full_at[who] -= self._share

    def wait(self, who: Hashable) -> float:
        """Return the seconds until ``who`` may have it asked again, whatever is under way."""
        return self._wait(who, 0)

    def left(self, who: Hashable) -> int:
        """Return how many misses ``who`` has left, whatever is under way."""
        if self._size is None:
            return _UNLIMITED
        missing = max(0.0, self._full_at.get(who, 0.0) - self._clock())
        return int((_MINUTE - missing + _ROUNDING) / self._share)

    def _wait(self, who: Hashable, reserved: int) -> float:
        if self._size is None:
            return 0.0
        missing = max(0.0, self._full_at.get(who, 0.0) - self._clock())
        seconds = missing - _MINUTE + (reserved + 1) * self._share
        return seconds if seconds > _ROUNDING else 0.0

    def _spend(self, who: Hashable) -> None:
        if self._size is not None:
            now = self._clock()
            full_at = max(self._full_at.get(who, 0.0), now) + self._share
            self._full_at[who] = min(full_at, now + _MINUTE)
            self._full_at.move_to_end(who)
            if len(self._full_at) > _LIMIT:
                self._full_at.popitem(last=False)
