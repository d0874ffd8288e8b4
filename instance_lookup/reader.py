"""What the cache holds; while it is down, what was answered a moment ago."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct, structs

from instance_lookup.entry import Freshness
from instance_lookup.exceptions import CacheError, CacheUnwritable
from instance_lookup.shared import Reading
from instance_lookup.transactions import OutsideTransaction

if TYPE_CHECKING:
    from instance_lookup.conf import Settings
    from instance_lookup.store import EntryStore
    from instance_lookup.vitals import Vitals

D = TypeVar("D", bound=Struct)


class Reader(Generic[D]):
    """Reads entries of one kind. Raises nothing: whoever reads goes on to ask the service."""

    def __init__(self, store: EntryStore[D], settings: Settings, vitals: Vitals) -> None:
        self._store = store
        self._vitals = vitals
        self._outside = OutsideTransaction(settings.cache_alias)
        self._rejoined = 0

    def read(self, asked: str, *, again: bool = False) -> Reading[D]:
        """Return what is held of an id. What is unusable is counted, but not ``again``."""
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
            vitals.cache_breaker.failed()
            vitals.cache.failed("down", exc)
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

    def _answered(self) -> None:
        vitals = self._vitals
        vitals.cache_breaker.succeeded()
        vitals.cache.ok()
        if self._rejoined != vitals.cache_breaker.closings:
            # What was answered in the outage has not heard what others invalidated meanwhile.
            self._rejoined = vitals.cache_breaker.closings
            self._store.local.forget(None)
