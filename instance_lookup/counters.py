"""Counting, from many threads at once."""

from __future__ import annotations

from collections import Counter

from instance_lookup.locks import Guarded
from instance_lookup.types import CacheStats


class Counters(Guarded):
    """The numbers behind :class:`CacheStats`."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[str] = Counter()

    def add(self, name: str) -> None:
        """Count one more of the field ``name`` of ``CacheStats``."""
        with self._lock:
            self._counts[name] += 1

    def read(self) -> CacheStats:
        """Return the numbers as of now."""
        with self._lock:
            return CacheStats(**self._counts)

    def reset(self) -> None:
        """Start again at nought."""
        with self._lock:
            self._counts.clear()
