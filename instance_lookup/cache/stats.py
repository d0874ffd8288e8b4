"""Counting, from many threads at once."""

from __future__ import annotations

from dataclasses import fields
from itertools import count

from instance_lookup.concurrency.forks import Guarded
from instance_lookup.types import CacheStats

_NAMES = [field.name for field in fields(CacheStats)]


class Counters(Guarded):
    """The numbers behind :class:`CacheStats`. Counting takes no lock: ``next`` is atomic.

    The lock keeps two reads apart, and a read from a reset: each read adds one to every number,
    which the next one subtracts.
    """

    def __init__(self) -> None:
        super().__init__()
        self._looks = 0
        self.reset()

    def add(self, name: str) -> None:
        """Count one more of the field ``name`` of ``CacheStats``. A near hit is also a hit."""
        next(self._counts[name])

    def read(self) -> CacheStats:
        """Return the numbers as of now."""
        with self._lock:
            looks, self._looks = self._looks, self._looks + 1  # "next" below adds one
            read = {name: next(each) - looks for name, each in self._counts.items()}
        # Added here, and not counted twice: a near hit takes a microsecond.
        return CacheStats(**{**read, "hits": read["hits"] + read["near_hits"]})

    def reset(self) -> None:
        """Start again at zero."""
        with self._lock:
            self._counts = {name: count() for name in _NAMES}
            self._looks = 0
