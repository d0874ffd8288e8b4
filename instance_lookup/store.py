"""The entries of one kind: what the shared cache holds, and what this process knows better."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from django.core.cache import caches
from msgspec import Struct, structs

from instance_lookup.channel import Channel, channel_of
from instance_lookup.codec import UNREADABLE
from instance_lookup.entry import Freshness, pack, unpack
from instance_lookup.keys import is_digest
from instance_lookup.local import LocalKnowledge
from instance_lookup.near import NearCache
from instance_lookup.scan import scan
from instance_lookup.shared import Reading, SharedEntries

if TYPE_CHECKING:
    from collections.abc import Collection

    from instance_lookup.conf import Settings
    from instance_lookup.counters import Counters
    from instance_lookup.entry import Entry, Generation
    from instance_lookup.kinds import Kind

D = TypeVar("D", bound=Struct)


_NEAR_CACHE_SIZE = 1024


class EntryStore(SharedEntries[D]):
    """The shared entries, with ``local``: what bridges an outage of the cache."""

    def __init__(self, kind: Kind[D], settings: Settings, counters: Counters) -> None:
        super().__init__(kind, settings, counters)
        self.local: LocalKnowledge[D] = LocalKnowledge(
            answers_live=settings.near_cache_ttl,
            changes_live=self._known_life,
            stale_max_age=settings.stale_max_age,
        )
        self._settings = settings

    def at_hand(self, asked: str) -> Entry[D] | None:
        """Return the entry of an id if it takes no I/O: fresh, and as the cache holds it."""
        near = self.local.near
        return None if near is None else near.get(asked)

    def read(self, asked: str, *, again: bool = False) -> Reading[D]:
        """Return the entry of an id, and the generation that a new one is to be stored under.

        What is unusable is counted, but not when it is looked at ``again``.
        """
        if self.local.near is None:
            self._open_near()
        reading = self._read(asked, again=again, since=self.local.since(asked))
        if reading.entry is not None and self.local.is_gone(asked, reading.entry):
            return structs.replace(reading, entry=None)
        return reading

    def look(self, ids: Collection[str]) -> dict[str, Reading[D]]:
        """Return what one look finds fresh of many ids; what else there may be, :meth:`read`."""
        if self.local.near is None:
            self._open_near()
        return {
            asked: reading
            for asked, reading in self._look({one: self.local.since(one) for one in ids}).items()
            if reading.entry is not None
            and reading.entry.freshness is Freshness.FRESH
            and not self.local.is_gone(asked, reading.entry)
        }

    def have_at_hand(self, asked: str, reading: Reading[D], read_at: float) -> None:
        """Have at hand what was read, at ``read_at`` of the monotonic clock."""
        if self.local.near is not None and reading.entry is not None:
            if self._channel is not None:
                self._channel.listen(self)
            self.local.fill(asked, reading.entry, since=reading.since, read_at=read_at)

    def hear(self, kind: str | None, asked: str | None) -> None:
        """Forget what another process invalidated."""
        if kind is None or kind == self.kind.name:
            self.local.forget(asked)

    def doubt(self) -> None:
        """Have nothing at hand that was read so far. What the service answered stays."""
        self.local.doubt()

    def keep(self, asked: str, body: bytes, reading: Reading[D], **about: Any) -> None:
        """Keep in this process, for a while, what the cache does not take."""
        stored = pack(self.kind, asked, body, generation=reading.generation, **about)
        self.local.keep(asked, unpack(self.kind, asked, stored), since=reading.since)

    def write(self, asked: str, body: bytes, **about: Any) -> None:
        """Do so, and have nothing older at hand in this process."""
        super().write(asked, body, **about)
        self.local.taken(asked)
        self.local.outdated(asked)

    def write_missing(self, asked: str, *, generation: Generation, asked_at: float) -> None:
        """Do so, and have no process serve what it has at hand."""
        super().write_missing(asked, generation=generation, asked_at=asked_at)
        self.local.taken(asked)
        self.local.forget(asked)
        self._publish(asked)

    def invalidate(self, asked: str) -> bool:
        """Do so, and forget what this process knows."""
        self.local.forget(asked)
        reached = super().invalidate(asked)
        self.local.taken(asked)
        self.local.forget(asked)  # again: somebody may have read it meanwhile
        self._publish(asked)
        return reached

    def invalidate_all(self) -> None:
        """Do so, and forget what this process knows."""
        self.local.forget(None)
        super().invalidate_all()
        self.local.forget(None)  # again: somebody may have read something meanwhile
        self._publish(None)

    def expire(self, asked: str) -> None:
        """Do so, and forget what this process knows."""
        self.local.forget(asked)
        super().expire(asked)
        self.local.forget(asked)  # again: somebody may have read it meanwhile
        self._publish(asked)

    def stored_ids(self) -> set[str] | None:
        """Return the ids of which an entry is stored, ``None`` where the cache cannot tell.

        For inspection: it changes nothing, and takes longer the more the cache holds.
        """
        try:
            names = scan(caches[self._alias], f"{self.kind.entry_key}:")
            return None if names is None else {self._id_under(name) for name in names}
        except Exception as exc:
            raise self._error("list", None, exc) from exc

    def _id_under(self, name: str) -> str:
        """Return the id of the entry stored under ``name``.

        A digest is replaced by the id in the entry itself.
        """
        if is_digest(name):
            with suppress(*UNREADABLE):
                stored = caches[self._alias].get(f"{self.kind.entry_key}:{name}")
                text = self._codec.decode(stored)
                told: str = msgspec.json.decode(text, type=self.kind.envelope).instance_id
                return told
        return name

    def _publish(self, asked: str | None) -> None:
        if self._channel is not None:
            try:
                self._channel.publish(self.kind.name, asked)
            except Exception as exc:
                raise self._failure("publish the invalidation of", asked, exc) from exc

    @cached_property
    def _channel(self) -> Channel | None:
        if self._settings.near_cache_size == 0:
            return None
        try:
            return channel_of(self._alias)
        except Exception:  # noqa: BLE001  # the read that follows says what is wrong with the cache
            return None

    @cached_property
    def _near_size(self) -> int:
        size = self._settings.near_cache_size
        return size if size is not None else _NEAR_CACHE_SIZE if self._channel else 0

    def _open_near(self) -> None:
        if not self._near_size:
            return
        if self._channel is not None:  # before the first read: else what it reads may be news
            self._channel.listen(self)
        self.local.near = NearCache(
            size=self._near_size,
            ttl=self._settings.near_cache_ttl,
            share=self._settings.refresh_ahead,
            channel=self._channel,
        )
