"""Entries of one kind in a Django cache alias, and the generations that decide which still count.

An invalidation writes a new random generation. A fetch reads the generations *before* it asks, and
stores under them; a read takes entry and generations in one look and rejects an entry of other
ones. So an answer that was under way during an invalidation may be stored, but is never served.
"""

from __future__ import annotations

import math
from contextlib import suppress
from functools import lru_cache, partial
from time import time
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from msgspec import Struct

from instance_lookup import events
from instance_lookup.cache.blocks import Blocks
from instance_lookup.cache.codec import UNREADABLE, Codec
from instance_lookup.cache.entry import (
    Entry,
    Freshness,
    Generation,
    pack_missing,
    unpack,
)
from instance_lookup.cache.errors import CacheErrors
from instance_lookup.cache.generations import Generations
from instance_lookup.cache.keys import (
    EVERYTHING,
    Keys,
    as_generation,
    as_token,
    new_token,
    part_of_generation,
)
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.cache.reading import Peek, Reading
from instance_lookup.cache.scan import stored_ids
from instance_lookup.cache.telling import told
from instance_lookup.frozen import hide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from instance_lookup.cache.kinds import Kind
    from instance_lookup.cache.stats import Counters
    from instance_lookup.conf import Settings
    from instance_lookup.frozen import SecretBytes

D = TypeVar("D", bound=Struct)

_KNOWN = 1024
"""Ids of which something is kept; the one that was used least recently makes room."""
_LENGTH_REMEMBERED = 32_768
"""Characters above which an entry is decoded each time: memory has a bound."""


class _Look(NamedTuple, Generic[D]):
    """A look at the keys of one id. While the next one finds the same, it means the same."""

    found: list[object]
    generation: Generation
    entry: Entry[D]


class _Known(Generic[D]):
    """What is kept of one id, so that a hit neither makes its keys nor decodes its entry again."""

    __slots__ = ("keys", "last")

    def __init__(self, kind: Kind[D], asked: str) -> None:
        self.keys = Keys.of(kind, asked)
        self.last: _Look[D] | None = None
        """Each thread reads and swaps it in one step."""


def _outcome(reading: Reading[Any]) -> str:
    """Return what a read is to those who watch: a remembered "does not exist" is a hit, too."""
    entry = reading.entry
    if entry is None:
        return "miss"
    return "hit" if entry.freshness is Freshness.FRESH else "stale"


class SharedTier(Generic[D]):
    """The entries of one kind. Every method raises ``CacheError`` when the backend fails."""

    def __init__(self, kind: Kind[D], settings: Settings, counters: Counters) -> None:
        """Hold the entries of ``kind`` in the cache that the ``settings`` name.

        ``counters`` are told of failures, and of entries that cannot be read.
        """
        self.kind, self._alias = kind, settings.cache_alias
        self._stale_max_age, self._negative_ttl = settings.stale_max_age, settings.negative_ttl
        self._entry_life = math.ceil(settings.stale_max_age)
        self._known = lru_cache(_KNOWN)(partial(_Known[D], kind))
        self._codec = Codec(settings)
        self.errors = CacheErrors(settings.cache_alias, counters)
        self._generations = Generations(settings, self.errors)
        self.known_life = self._generations.known_life
        self.blocks = Blocks()
        self._count = counters.add

    def read(
        self, asked: str, *, since: int = 0, again: bool = False, mint: bool = True
    ) -> Reading[D]:
        """Return the entry of the id ``asked``, and the generation to store a new one under.

        ``since`` goes into the reading; ``again``: do not count, without ``mint``: do not write.
        """
        known = self._known(asked)
        keys = known.keys
        found = self._look(keys, asked)
        if found is None:
            found = self._get_readable(keys, asked)
        generation, entry, is_unusable, end = self._understood(known, asked, found)
        if end:
            return Reading(part_of_generation(*found[1:]), None, since, blocked_until=end)
        if generation is None:
            del found[0]  # debug pages show local variables, and it holds API keys
            if not mint:
                return Reading(part_of_generation(*found), None, since, unminted=True)
            generation = self._generations.mint(keys, found, asked)
        elif is_unusable and not again:
            self._reject()
        return Reading(generation, entry, since)

    told_read = told("read", lambda reading: (_outcome(reading),))(read)

    def unread(self, asked: str, since: int, entry: Entry[D] | None) -> Reading[D]:
        """Return a reading of what this process knows, its ``entry``, while the cache is down."""
        end = self.blocks.until(asked)  # a block that was read goes on
        return Reading(None, None if end else entry, since, blocked_until=end)

    def read_many(self, since: Mapping[str, int]) -> dict[str, Reading[D]]:
        """Return what one look finds fresh of many ids. ``since`` of each goes into its reading."""
        known = {asked: self._known(asked) for asked in since}
        wanted = [*{key for each in known.values() for key in each.keys}]
        values = self._look(wanted, next(iter(known)))
        if values is None:
            return {}
        found, readings = dict(zip(wanted, values, strict=True)), {}
        for asked, each in known.items():
            own = [found[key] for key in each.keys]
            generation, entry, *_ = self._understood(each, asked, own)
            if entry is not None and entry.freshness is Freshness.FRESH:
                readings[asked] = Reading(generation, entry, since[asked])
        return readings

    told_read_many = told("read", lambda readings: map(_outcome, readings.values()))(read_many)

    def peek(self, asked: str, found: list[Any] | None = None) -> Peek[D]:
        """Look at what is stored for an id, or ``found`` at its keys, without changing anything."""
        known = self._known(asked)
        found = found or self._look(known.keys, asked, counted=False)
        if found is None:
            return Peek(None, None, unreadable=True)
        generation, entry, is_unusable, end = self._understood(known, asked, found)
        return Peek(found[0], entry, is_unusable, end, generation)

    def block_of(self, asked: str) -> float:
        """Look until which Unix time an id is blocked; 0: it is not."""
        keys = self._known(asked).keys
        with self.errors.raised_to("read", asked) as cache:
            return self.blocks.see(asked, *cache.get_many([keys.own, keys.expiry]))

    def stored_ids(self) -> set[str] | None:
        """Return the ids of all entries, ``None`` where the cache cannot list them. Slow."""
        with self.errors.raised_to("list", None, counted=False):
            return stored_ids(self._alias, self.kind, self._codec)

    @told("write")
    def write(self, asked: str, packed: SecretBytes) -> None:
        """Store what ``pack`` made, under a generation that was read before the fetch."""
        if self.blocks.until(asked):
            return
        keys = self._known(asked).keys
        with self.errors.raised_to("store", asked) as cache:
            cache.set(keys.entry, self._codec.encode(packed), self._entry_life)
            cache.touch(keys.own, self._generations.known_life)

    @told("write")
    def write_missing(self, asked: str, *, generation: Generation, asked_at: float) -> bool | None:
        """Remember that the id ``asked`` does not exist; tell whether that was stored.

        ``asked_at`` is the Unix time at which the service was asked, ``generation`` was read before
        that. ``None`` is returned where the cache does not tell. It is stored under a new
        generation, so that an older document still under way cannot bring the id back; and not
        if ``generation`` is outdated: after an invalidation this answer may be the older one. A
        block stays.
        """
        if self.blocks.until(asked):
            return False
        keys = self._known(asked).keys
        with self.errors.raised_to("store", asked) as cache:
            now = as_token(cache.get(keys.everything)), as_token(cache.get(keys.own))
            if now != (generation.everything, generation.own):
                return None if None in now else False
            new, ttl = generation._replace(own=new_token()), self._negative_ttl
            missing = pack_missing(self.kind, asked, new, cached_at=asked_at, ttl=ttl)
            cache.set(keys.own, new.own, self._generations.unknown_life)
            cache.set(keys.entry, self._codec.encode(missing), math.ceil(ttl))
            return True

    @told("invalidate")
    def invalidate(self, asked: str, until: float | None = None) -> bool:
        """Never serve what was stored or fetched so far; tell whether there was an entry.

        Block the id until ``until`` (Unix time); 0: lift its block; ``None``: leave that as it is.
        """
        keys, life = self._known(asked).keys, self._generations.known_life
        # Both parts: a "does not exist" that is just being written may replace our generation by
        # its own, without having seen ours. Stored under another expiry, it is asked about again.
        # A block in either part counts. It is written in the other order: an invalidation by
        # another process, which leaves blocks as it finds them, can miss one of the two only.
        parts = (keys.own, keys.expiry) if until is None else (keys.expiry, keys.own)
        for part in parts:
            self._generations.renew(part, asked, life, until)
        if until is not None:
            self.blocks.remember(asked, until)
        with self.errors.raised_to("invalidate", asked) as cache:
            reached = cache.delete(keys.entry)
        self._tell_invalidation(self.kind.name)
        return reached

    @told("invalidate")
    def invalidate_all(self) -> None:
        """Never serve what was stored or fetched so far, of any id, of both kinds."""
        self._generations.renew(EVERYTHING, None, None)
        self._tell_invalidation("all")

    @told("expire")
    def expire(self, asked: str) -> None:
        """Make the entry of an id stale: the Config Service is asked before it is served again."""
        generations = self._generations
        generations.renew(self._known(asked).keys.expiry, asked, generations.known_life)
        self._tell_invalidation(self.kind.name)

    def _look(self, keys: Sequence[str], asked: str, *, counted: bool = True) -> list[Any] | None:
        """Return the value of each key; ``None``: one of them cannot be read."""
        try:
            return key_values[self._alias].get_many(keys)
        except UNREADABLE:
            return None
        except Exception as exc:
            raise self.errors.failure("read", asked, exc, counted=counted) from exc

    def _understood(
        self, known: _Known[D], asked: str, found: list[object]
    ) -> tuple[Generation | None, Entry[D] | None, bool, float]:
        """Return generation and entry of what was found of an id.

        And whether that is unusable, and the Unix time until which the id is blocked; 0: it is not.
        """
        last = known.last
        if last is not None and last.found == found:
            generation, entry = last.generation, last.entry
            aged = entry.aged(self._stale_max_age, time(), expired=entry.expired)
            return generation, aged, False, 0.0
        stored, *tokens = found
        now, end = as_generation(*tokens), self.blocks.see(asked, *tokens[1:])
        if stored is None or now is None or end:
            return now, None, False, end
        try:
            if last is not None and last.found[0] == stored:  # under another generation
                entry, is_short = last.entry, True
            else:
                text = self._codec.decode(stored)
                entry, is_short = unpack(self.kind, asked, text), len(text) <= _LENGTH_REMEMBERED
        except ValueError:
            return now, None, True, 0.0
        counting = entry.under(now, self._stale_max_age, time())
        if counting is not None and is_short:
            known.last = _Look([*map(hide, found)], now, counting)
        return now, counting, False, 0.0

    def _reject(self) -> None:
        self._count("rejected")
        if events.watchers:
            events.tell(events.Rejection("entry"))

    def _tell_invalidation(self, scope: str) -> None:
        if events.watchers:
            events.tell(events.Invalidation(scope, "here"))

    def _get_readable(self, keys: Keys, asked: str) -> list[Any]:
        """Read key by key, and delete what cannot be read, or it would stay for ever."""
        found: list[Any] = []
        with self.errors.raised_to("read", asked) as cache:
            for key in keys:
                try:
                    found += map(hide, cache.get_many([key]))
                except UNREADABLE:
                    self._reject()
                    with suppress(Exception):  # a server that takes no writes can still be read
                        cache.delete(key)
                    found.append(None)
        return found
