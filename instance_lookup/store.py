"""The entries of one kind: what the shared cache holds, and what this process knows better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from instance_lookup.entry import pack, unpack
from instance_lookup.exceptions import CacheError
from instance_lookup.local import LocalKnowledge
from instance_lookup.shared import Reading, SharedEntries

if TYPE_CHECKING:
    from instance_lookup.conf import Settings
    from instance_lookup.counters import Counters
    from instance_lookup.kinds import Kind

D = TypeVar("D", bound=Struct)


class EntryStore(SharedEntries[D]):
    """The shared entries, with ``local``: what bridges an outage of the cache."""

    def __init__(self, kind: Kind[D], settings: Settings, counters: Counters) -> None:
        super().__init__(kind, settings, counters)
        self.local: LocalKnowledge[D] = LocalKnowledge(
            answers_live=settings.near_cache_ttl,
            invalidations_live=self._known_life,
            stale_max_age=settings.stale_max_age,
        )

    def read(self, asked: str, *, again: bool = False) -> Reading[D]:
        """Return the entry of an id, and the generation that a new one is to be stored under.

        First the invalidations are written that the cache did not take. What is unusable is
        counted, but not when it is looked at ``again``.
        """
        since = self.local.since(asked)
        reading = self._read(asked, again=again, since=since)
        if not self.local.owes(asked):
            return reading
        if not self._catch_up(asked):
            return Reading(None, self.local.answer(asked), since)
        return self._read(asked, again=True, since=since)

    def keep(self, asked: str, body: bytes, reading: Reading[D], **about: Any) -> None:
        """Keep in this process, for a while, what the cache does not take."""
        stored = pack(self.kind, asked, body, generation=reading.generation, **about)
        self.local.keep(asked, unpack(self.kind, asked, stored), since=reading.since)

    def invalidate(self, asked: str) -> bool:
        """Do so at once in this process, whatever the cache does."""
        mark = self.local.invalidate(asked)
        return self._spread(asked, mark)

    def invalidate_all(self) -> None:
        """Do so at once in this process, whatever the cache does."""
        mark = self.local.invalidate(None)
        self._spread_all(mark)

    def expire(self, asked: str) -> None:
        """Do so, and forget what this process knows."""
        self.local.forget(asked)
        super().expire(asked)

    def _catch_up(self, asked: str) -> bool:
        """Write the invalidations that the cache did not take, before what it holds is believed."""
        try:
            if mark := self.local.owed(None):
                self._spread_all(mark)
            if mark := self.local.owed(asked):
                self._spread(asked, mark)
        except CacheError:
            return False
        return True

    def _spread(self, asked: str, mark: int) -> bool:
        reached = super().invalidate(asked)
        self.local.confirmed(asked, mark)
        return reached

    def _spread_all(self, mark: int) -> None:
        super().invalidate_all()
        self.local.confirmed(None, mark)
