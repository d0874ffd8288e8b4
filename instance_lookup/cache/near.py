"""Entries in the memory of this process: answers without I/O and without waiting."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from time import monotonic, time
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from instance_lookup.cache.entry import CLOCK_SKEW, Entry
from instance_lookup.cache.pubsub import DOUBTFUL, channel_of

if TYPE_CHECKING:
    from instance_lookup.cache.pubsub import Channel, Hears
    from instance_lookup.conf import Settings

D = TypeVar("D", bound=Struct)

SIZE = 1024
"""Entries, where the setting leaves it to us."""


class _Near(Struct, Generic[D], frozen=True):
    entry: Entry[D]
    fresh_from: float
    fresh_until: float
    """By the wall clock."""
    sure_until: float
    """By the monotonic clock: from then on it takes a channel that is heard."""
    until: float
    """By the monotonic clock."""
    size: int
    """Bytes of JSON."""


class NearTier(Generic[D]):
    """Entries of one kind, of which those that were used least recently make room.

    "Does not exist" is kept apart: callers who make up ids push out no others. It has its own count
    of entries. The bytes are counted together, and where they are too many it makes room first.

    Reads take no lock. Writes run in a step of :class:`Epochs`, so one at a time. A read may come
    between any two lines of a write; it gets a whole entry all the same, since entries are frozen.
    """

    def __init__(self, settings: Settings) -> None:
        """Keep entries for ``NEAR_CACHE_TTL``, and no longer than a share of their own life.

        That is ``REFRESH_AHEAD``: then one is fetched ahead, which begins with a read of the cache.
        """
        self.size = 0
        """How many entries there may be of each sort; 0 until it is open, and where it is off."""
        self.is_open = False
        self._settings = settings
        self._ttl = settings.near_cache_ttl
        self._share = 1.0 if settings.refresh_ahead is None else settings.refresh_ahead
        self._refused_until = 0.0
        """By the monotonic clock: what was read before is not kept."""
        self._known: OrderedDict[str, _Near[D]] = OrderedDict()
        self._unknown: OrderedDict[str, _Near[D]] = OrderedDict()
        self._limit = settings.near_cache_bytes
        self._bytes = 0
        """Of all entries. Only writes change it, and they come one at a time."""

    def open(self, hearer: Hears) -> None:
        """Find out how many entries to keep, and have ``hearer`` told of invalidations.

        Call it before the first read: what changes after the read has to be heard. Threads may come
        together: they find the same size, and the channel starts one thread.
        """
        size = self._settings.near_cache_size
        try:
            if size is None:
                size = SIZE if self._channel is not None else 0
            if size:
                self.listen(hearer)
        except Exception:  # noqa: BLE001  # the read that follows says what is wrong with the cache
            return  # not for ever: the next read tries again
        self.size = size
        self.is_open = True

    def listen(self, hearer: Hears) -> None:
        """Go on listening, also in a child after a fork."""
        if self._channel is not None:
            self._channel.listen(hearer)

    @property
    def channel(self) -> Channel | None:
        """What it hears of invalidations by; ``None`` where it is off, or not open yet."""
        return self._channel if self.size else None

    @cached_property
    def _channel(self) -> Channel | None:
        return channel_of(self._settings.cache_alias)

    def __len__(self) -> int:
        return len(self._known) + len(self._unknown)

    def get(self, asked: str) -> Entry[D] | None:
        """Return the entry of an id if it is here, fresh, and surely not invalidated."""
        entries = self._known
        if (near := entries.get(asked)) is None:
            entries = self._unknown
            if (near := entries.get(asked)) is None:
                return None
        now = monotonic()
        if now >= near.sure_until and (
            now >= near.until or (self._channel is not None and now >= self._channel.sure_until)
        ):
            return None
        if not near.fresh_from <= time() < near.fresh_until:
            return None
        try:
            entries.move_to_end(asked)
        except KeyError:  # a writer dropped it since the lookup above: pushed out, or invalidated
            return None
        return near.entry

    def put(self, asked: str, entry: Entry[D], read_at: float) -> None:
        """Keep the entry of ``asked``. Its read began at ``read_at`` (monotonic clock)."""
        if read_at <= self._refused_until:
            return
        size = len(entry.raw)
        if size > self._limit:  # it would push out all others
            self.drop(asked)
            return
        entries, others = self._known, self._unknown
        share = self._share
        if entry.document is None:
            entries, others, share = others, entries, 1.0
        before = entries.get(asked)
        entries[asked] = _Near(
            entry=entry,
            fresh_from=entry.cached_at - CLOCK_SKEW,
            fresh_until=entry.cached_at + share * entry.ttl,
            sure_until=read_at + min(self._ttl, DOUBTFUL),
            until=read_at + self._ttl,
            size=size,
        )
        self._bytes += size - (0 if before is None else before.size)
        # Now that the entry is there: a reader in between finds one, the old or the new.
        self._pop(others, asked)
        entries.move_to_end(asked)
        if len(entries) > self.size:
            self._evict(entries)
        while self._bytes > self._limit:
            self._evict(self._unknown or self._known)

    def drop(self, asked: str | None) -> None:
        """Forget an id (``None``: all)."""
        if asked is None:
            self._known.clear()
            self._unknown.clear()
            self._bytes = 0
        else:
            self._pop(self._known, asked)
            self._pop(self._unknown, asked)

    def doubt(self, lull: float = 0.0) -> None:
        """Forget all, and refuse what is read before ``lull`` seconds from now have passed."""
        self._refused_until = monotonic() + lull
        self.drop(None)

    def _pop(self, entries: OrderedDict[str, _Near[D]], asked: str) -> None:
        if (near := entries.pop(asked, None)) is not None:
            self._bytes -= near.size

    def _evict(self, entries: OrderedDict[str, _Near[D]]) -> None:
        _, near = entries.popitem(last=False)
        self._bytes -= near.size
