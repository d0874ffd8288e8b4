"""What this process knows and the shared cache does not: during an outage, and just after."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from instance_lookup.cache.epochs import Marks
from instance_lookup.resilience.expiring import Expiring

if TYPE_CHECKING:
    from collections.abc import Hashable

    from instance_lookup.cache.entry import Entry, Generation
    from instance_lookup.conf import Settings

D = TypeVar("D", bound=Struct)

_LIMIT = 1024
"""Answers; ``NEAR_CACHE_BYTES`` bounds them as well."""


class _Answers(Expiring["Entry[D]"]):
    """Answers, limited by number and by bytes of JSON; the oldest are dropped first."""

    def __init__(self, ttl: float, *, limit: int, most_bytes: int) -> None:
        super().__init__(ttl, limit=limit)
        self._most_bytes = most_bytes

    def put(self, key: Hashable, value: Entry[D]) -> None:
        """Keep an answer, unless it would push out all others."""
        self.drop(key)
        if len(value.raw) > self._most_bytes:
            return
        with self._lock:
            # Added up each time: there are few, and each comes with a call of the service.
            held = len(value.raw) + sum(len(entry.raw) for _, entry in self.items.values())
            while held > self._most_bytes:
                _, (_, oldest) = self.items.popitem(last=False)
                held -= len(oldest.raw)
        super().put(key, value)


class OutageBuffer(Generic[D]):
    """Answers of the Config Service that the cache did not take.

    Without the answers an outage of the cache would become a stampede on the service. Without the
    marks a 404 would be forgotten as soon as the cache is back with the copy.
    """

    def __init__(self, settings: Settings, entries_live: float) -> None:
        """Keep answers for ``NEAR_CACHE_TTL``, and 404s for ``entries_live`` seconds.

        ``entries_live`` is longer than any entry lives in the cache.
        """
        self._answers: _Answers[D] = _Answers(
            settings.near_cache_ttl, limit=_LIMIT, most_bytes=settings.near_cache_bytes
        )
        self._gone: Marks[float] = Marks(entries_live)
        self._stale_max_age = settings.stale_max_age

    @property
    def is_used(self) -> bool:
        """Whether there is anything in it."""
        return bool(self._answers.items or self._gone.items)

    def keep(self, asked: str, entry: Entry[D]) -> None:
        """Keep an answer."""
        self._answers.put(asked, entry)

    def answer(self, asked: str) -> Entry[D] | None:
        """Return what the service answered a moment ago; for when the cache cannot be read."""
        entry = self._answers.get(asked)
        return entry and entry.aged(self._stale_max_age, time())

    def unwritten(self, asked: str, under: Generation | None) -> Entry[D] | None:
        """Return what the service answered a moment ago, and a read-only or full cache lacks.

        Only an answer of the generation ``under``, which the cache holds now: so invalidations
        count here as well. An answer of another generation is dropped.
        """
        if (entry := self.answer(asked)) and entry.generation == str(under or ""):
            return entry
        self.drop(asked)
        return None

    def drop(self, asked: str | None) -> None:
        """Forget the answer about an id (``None``: about any)."""
        if asked is None:
            self._answers.clear()
        elif self._answers.items:
            self._answers.drop(asked)

    def mark_gone(self, asked: str, asked_at: float) -> None:
        """Believe no copy from before ``asked_at`` (Unix time): the service answered 404 then."""
        self._gone.mark(asked, asked_at)

    def is_gone(self, asked: str, entry: Entry[D]) -> bool:
        """Tell whether the service has said since that what the cache holds does not exist."""
        return entry.document is not None and entry.cached_at <= self._gone.of(asked)

    def taken(self, asked: str) -> None:
        """Note that the cache took a newer answer about an id, or its invalidation."""
        self.drop(asked)
        if self._gone.items:
            self._gone.drop(asked)
