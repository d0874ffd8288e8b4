"""A map in this process whose items end by themselves. Bounded: the oldest makes room."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from instance_lookup.concurrency.forks import Guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

V = TypeVar("V")


class Expiring(Guarded, Generic[V]):
    """Items live for ``ttl`` seconds of the monotonic clock; there are at most ``limit``."""

    def __init__(
        self, ttl: float, *, limit: int = 10_000, clock: Callable[[], float] = monotonic
    ) -> None:
        super().__init__()
        self._ttl = ttl
        self._limit = limit
        self._clock = clock
        self.items: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()

    def put(self, key: Hashable, value: V) -> None:
        """Keep ``value`` from now on."""
        with self._lock:
            now = self._clock()
            self.items[key] = (now + self._ttl, value)
            self.items.move_to_end(key)
            while self.items and (len(self.items) > self._limit or self._oldest_ends() <= now):
                self.items.popitem(last=False)

    def get(self, key: Hashable) -> V | None:
        """Return what is kept; ``None``: nothing is, or its time is over. Takes no lock."""
        until, value = self.items.get(key, (0.0, None))
        return value if self._clock() < until else None

    def drop(self, key: Hashable) -> bool:
        """Forget an item; tell whether there was one, even one whose time was over."""
        with self._lock:
            return self.items.pop(key, None) is not None

    def _oldest_ends(self) -> float:
        return next(iter(self.items.values()))[0]

    def clear(self) -> None:
        """Forget all items."""
        with self._lock:
            self.items.clear()
