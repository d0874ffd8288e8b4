"""What the cache holds; while it is down, what was answered a moment ago."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct, structs

from instance_lookup.entry import Freshness
from instance_lookup.exceptions import CacheError, CacheUnwritable
from instance_lookup.gathering import Gathering
from instance_lookup.rounds import Rounds
from instance_lookup.shared import Reading
from instance_lookup.transactions import OutsideTransaction

if TYPE_CHECKING:
    from collections.abc import Collection

    from instance_lookup.conf import Settings
    from instance_lookup.store import EntryStore
    from instance_lookup.vitals import Vitals

D = TypeVar("D", bound=Struct)


class Look(Struct, Generic[D], frozen=True):
    """The step in which a lookup reads the cache."""

    reader: Reader[D]
    asked: str

    def run(self) -> Reading[D]:
        """Return what is held of the id."""
        return self.reader.read(self.asked)

    async def arun(self) -> Reading[D]:
        """Twin of :meth:`run`."""
        return await self.reader.aread(self.asked)


class Reader(Generic[D]):
    """Reads entries of one kind. Raises nothing: whoever reads goes on to ask the service."""

    def __init__(self, store: EntryStore[D], settings: Settings, vitals: Vitals) -> None:
        self._store = store
        self._vitals = vitals
        self._outside = OutsideTransaction(settings.cache_alias)
        self._rejoined = 0
        self._gathering = Gathering[Reading[D]]()
        self._rounds = Rounds[Reading[D]]()

    def read(self, asked: str) -> Reading[D]:
        """Return what is held of an id. Threads that read it at the same moment share a look."""
        return self._rounds.get(asked, self._read)

    async def aread(self, asked: str) -> Reading[D]:
        """Twin of :meth:`read`. Coroutines share it even for different ids."""
        return await self._gathering.get(asked, self._look, self._read)

    def read_again(self, asked: str) -> Reading[D]:
        """Return what is held of an id by now, without counting once more what is unusable."""
        return self._read(asked, again=True)

    def _read(self, asked: str, *, again: bool = False) -> Reading[D]:
        local, vitals = self._store.local, self._vitals
        if not vitals.cache_breaker.enter():
            return Reading(None, local.answer(asked), local.since(asked))
        since, began = local.since(asked), monotonic()
        try:
            reading = self._outside.call(self._store.read, asked, again=again)
        except CacheUnwritable as exc:  # what it holds of other ids is as good as ever
            vitals.cache_unwritable(exc, began)
            reading = Reading(None, local.unwritten(asked, None), since)
        except CacheError as exc:
            vitals.cache_failed(exc)
            return Reading(None, local.answer(asked), since)
        self._answered()
        if reading.generation is None:
            return reading
        if reading.entry is not None and reading.entry.freshness is Freshness.FRESH:
            local.drop(asked)
            self._store.have_at_hand(asked, reading, began)
            return reading
        unwritten = local.unwritten(asked, reading.generation)
        return structs.replace(reading, entry=unwritten) if unwritten else reading

    def _look(self, ids: Collection[str]) -> dict[str, Reading[D]]:
        """Return what one look finds fresh; nothing while the cache is down.

        What else there is, such as finding out whether it is up again, takes a read of its own.
        """
        if not self._vitals.cache_breaker.is_closed:
            return {}
        began = monotonic()
        try:
            readings = self._outside.call(self._store.look, ids)
        except CacheError as exc:
            self._vitals.cache_failed(exc)
            return {}
        for asked, reading in readings.items():
            self._store.local.drop(asked)
            self._store.have_at_hand(asked, reading, began)
        return readings

    def _answered(self) -> None:
        vitals = self._vitals
        vitals.cache_breaker.succeeded()
        vitals.cache.ok()
        if self._rejoined != vitals.cache_breaker.closings:
            # What was answered in the outage has not heard what others invalidated meanwhile.
            self._rejoined = vitals.cache_breaker.closings
            self._store.local.forget(None)
