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
_ROUNDING = 1e-6
"""Seconds that a sum of shares of a minute may be off."""


class MissBudget(Guarded):
    """A token bucket for each user: ``size`` misses at once, and as many a minute."""

    def __init__(self, size: int | None, *, clock: Callable[[], float] = monotonic) -> None:
        """Let each user have ``size`` misses; ``None``: any number."""
        super().__init__()
        self._size = size
        self._clock = clock
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def spend(self, who: Hashable) -> None:
        """Note that ``who`` had the service asked for what it does not know."""
        if self._size is None:
            return
        now = self._clock()
        with self._lock:
            full_at = max(self._full_at.get(who, 0.0), now) + _MINUTE / self._size
            self._full_at[who] = min(full_at, now + _MINUTE)
            self._full_at.move_to_end(who)
            if len(self._full_at) > _LIMIT:
                self._full_at.popitem(last=False)

    def refund(self, who: Hashable) -> None:
        """Give back what ``who`` spent on what turned out to be no miss."""
        if self._size is not None:
            with self._lock:
                if who in self._full_at:
                    self._full_at[who] -= _MINUTE / self._size

    def wait(self, who: Hashable) -> float:
        """Return the seconds until ``who`` may have it asked again; 0: now."""
        if self._size is None or who not in self._full_at:
            return 0.0
        missing = self._full_at.get(who, 0.0) - self._clock()
        seconds = missing - _MINUTE + _MINUTE / self._size
        return seconds if seconds > _ROUNDING else 0.0
