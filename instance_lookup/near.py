"""Ready entries in this process: the answers that take neither I/O nor waiting."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic, time
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from instance_lookup.entry import CLOCK_SKEW, Entry

if TYPE_CHECKING:
    from instance_lookup.channel import Channel

D = TypeVar("D", bound=Struct)

DOUBTFUL = 1.0
"""Seconds for which an entry is served though nobody vouches that an invalidation is heard."""


class _Near(Struct, Generic[D], frozen=True):
    entry: Entry[D]
    fresh_from: float
    fresh_until: float
    """By the wall clock."""
    sure_until: float
    """By the monotonic clock: from then on it takes a channel that is heard."""
    until: float
    """By the monotonic clock."""


class NearCache(Generic[D]):
    """Entries of one kind, of which those that were used least recently make room.

    "Does not exist" is kept apart: whoever makes up ids pushes out no others. Reads take no lock;
    whoever writes holds one of his own.
    """

    def __init__(
        self, *, size: int, ttl: float, share: float | None, channel: Channel | None = None
    ) -> None:
        """Keep ``size`` entries for ``ttl`` seconds, and no longer than a ``share`` of their own.

        After that somebody has to fetch them ahead, which begins with a look into the cache.
        """
        self._size = size
        self._ttl = ttl
        self._share = 1.0 if share is None else share
        self._channel = channel
        self._known: OrderedDict[str, _Near[D]] = OrderedDict()
        self._unknown: OrderedDict[str, _Near[D]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known) + len(self._unknown)

    def get(self, asked: str) -> Entry[D] | None:
        """Return the entry of an id if it is at hand, fresh, and surely not invalidated."""
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
        except KeyError:  # pushed out, or invalidated, this very moment
            return None
        return near.entry

    def put(self, asked: str, entry: Entry[D], read_at: float) -> None:
        """Keep an entry that was read from the cache at ``read_at`` of the monotonic clock."""
        entries, others = self._known, self._unknown
        share = self._share
        if entry.document is None:
            entries, others, share = others, entries, 1.0
        entries[asked] = _Near(
            entry=entry,
            fresh_from=entry.cached_at - CLOCK_SKEW,
            fresh_until=entry.cached_at + share * entry.ttl,
            sure_until=read_at + min(self._ttl, DOUBTFUL),
            until=read_at + self._ttl,
        )
        others.pop(asked, None)
        entries.move_to_end(asked)
        if len(entries) > self._size:
            entries.popitem(last=False)

    def drop(self, asked: str | None) -> None:
        """Forget an id (``None``: all)."""
        for entries in (self._known, self._unknown):
            if asked is None:
                entries.clear()
            else:
                entries.pop(asked, None)
