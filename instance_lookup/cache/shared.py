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

from instance_lookup.cache.codec import UNREADABLE, Codec
from instance_lookup.cache.entry import (
    DOES_NOT_EXIST,
    Entry,
    Freshness,
    Generation,
    Peek,
    pack,
    unpack,
)
from instance_lookup.cache.errors import CacheErrors
from instance_lookup.cache.generations import mint, renew
from instance_lookup.cache.keys import (
    EVERYTHING,
    Keys,
    as_generation,
    as_token,
    new_token,
    part_of_generation,
)
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.cache.scan import stored_ids
from instance_lookup.exceptions import CacheError
from instance_lookup.frozen import hide

if TYPE_CHECKING:
    from collections.abc import Mapping

    from instance_lookup.cache.kinds import Kind
    from instance_lookup.cache.stats import Counters
    from instance_lookup.conf import Settings

D = TypeVar("D", bound=Struct)

_MARGIN = 60
"""Seconds by which a generation outlives the entries stored under it."""
_KEYS_KEPT = 4096
"""Ids whose keys are kept; making them costs a tenth of what else a hit does."""
_ENTRIES_REMEMBERED = 1024
_LENGTH_REMEMBERED = 32_768
"""Characters above which an entry is decoded each time: memory has a bound."""


class Reading(Struct, Generic[D], frozen=True):
    """What one look into the cache found."""

    generation: Generation | None
    """The generation to store a new entry under; ``None``: unknown, so nothing may be stored."""
    entry: Entry[D] | None
    since: int = 0
    """The last change that the process itself knew of, before the look."""
    unminted: bool = False
    """Whether ``generation`` is only for comparison: a fetch has to read with ``mint`` first."""


class _Look(NamedTuple, Generic[D]):
    """A look at the keys of one id. While the next one finds the same, it means the same."""

    found: list[object]
    generation: Generation
    entry: Entry[D]


class _Memory(Generic[D]):
    """The last look at one id; one attribute, which each thread reads and swaps in one step."""

    __slots__ = ("last",)

    def __init__(self, asked: str) -> None:
        self.last: _Look[D] | None = None


class SharedTier(Generic[D]):
    """The entries of one kind. Every method raises ``CacheError`` when the backend fails."""

    def __init__(self, kind: Kind[D], settings: Settings, counters: Counters) -> None:
        self.kind, self._alias = kind, settings.cache_alias
        self._stale_max_age, self._negative_ttl = settings.stale_max_age, settings.negative_ttl
        self._entry_life = math.ceil(settings.stale_max_age)
        self.known_life = self._entry_life + _MARGIN
        self._unknown_life = (
            math.ceil(settings.config_service_timeout + self._negative_ttl) + _MARGIN
        )
        self._keys = lru_cache(_KEYS_KEPT)(partial(Keys.of, kind))
        self._memory = lru_cache(_ENTRIES_REMEMBERED)(_Memory[D])
        self._codec = Codec(settings)
        self.errors = CacheErrors(settings.cache_alias, counters)
        self._count = counters.add

    def read(
        self, asked: str, *, since: int = 0, again: bool = False, mint: bool = True
    ) -> Reading[D]:
        """Return the entry of the id ``asked``, and the generation to store a new one under.

        ``since`` goes into the reading; ``again``: do not count, without ``mint``: do not write.
        """
        keys = self._keys(asked)
        try:
            found = key_values[self._alias].get_many(keys)
        except UNREADABLE:
            found = None
        except Exception as exc:
            raise self.errors.failure("read", asked, exc) from exc
        if found is None:  # not in the handler: its error would be the context of the next one
            found = self._get_readable(keys, asked)
        generation, entry, is_unusable = self._understood(asked, found)
        if generation is None:
            del found[0]  # debug pages show local variables, and it holds API keys
            if not mint:
                return Reading(part_of_generation(*found), None, since, unminted=True)
            generation = self._mint(keys, found, asked)
        elif is_unusable and not again:
            self._count("rejected")
        return Reading(generation, entry, since)

    def read_many(self, since: Mapping[str, int]) -> dict[str, Reading[D]]:
        """Return what one look finds fresh of many ids. ``since`` of each goes into its reading."""
        keys = {asked: self._keys(asked) for asked in since}
        wanted = [*{key for own in keys.values() for key in own}]
        try:
            found = dict(zip(wanted, key_values[self._alias].get_many(wanted), strict=True))
        except UNREADABLE:
            return {}
        except Exception as exc:
            raise self.errors.failure("read", next(iter(keys)), exc) from exc
        readings = {}
        for asked, own in keys.items():
            generation, entry, _ = self._understood(asked, [found[key] for key in own])
            if entry is not None and entry.freshness is Freshness.FRESH:
                readings[asked] = Reading(generation, entry, since[asked])
        return readings

    def peek(self, asked: str) -> Peek[D]:
        """Look at what is stored for an id without changing anything: for inspection."""
        try:
            found = key_values[self._alias].get_many(self._keys(asked))
        except UNREADABLE:
            return Peek(None, None, unreadable=True)
        except Exception as exc:
            raise self.errors.error("read", asked, exc) from exc
        _, entry, is_unusable = self._understood(asked, found)
        return Peek(found[0], entry, unreadable=is_unusable)

    def stored_ids(self) -> set[str] | None:
        """Return the ids of all entries, ``None`` where the cache cannot list them. Slow."""
        try:
            return stored_ids(self._alias, self.kind, self._codec)
        except Exception as exc:
            raise self.errors.error("list", None, exc) from exc

    def write(
        self,
        asked: str,
        body: bytes,
        *,
        generation: Generation,
        cached_at: float,
        ttl: float,
        etag: str | None,
    ) -> None:
        """Store the JSON ``body``, fresh for ``ttl`` seconds from ``cached_at`` (Unix time).

        ``generation`` was read before the document was asked for. ``etag`` is the service's.
        """
        keys = self._keys(asked)
        with self.errors.raised_to("store", asked) as cache:
            # Not in a local variable: debug pages show those, and it holds API keys.
            cache.set(
                keys.entry,
                self._codec.encode(
                    pack(
                        self.kind,
                        asked,
                        body,
                        generation=generation,
                        cached_at=cached_at,
                        ttl=ttl,
                        etag=etag,
                    )
                ),
                self._entry_life,
            )
            cache.touch(keys.own, self.known_life)

    def write_missing(self, asked: str, *, generation: Generation, asked_at: float) -> bool | None:
        """Remember that an id does not exist; tell whether that was stored, if the cache tells.

        Under a new generation, so that an older document still under way cannot bring it back.
        Not if ``generation`` is outdated: after an invalidation this answer may be the older one.
        """
        keys = self._keys(asked)
        with self.errors.raised_to("store", asked) as cache:
            now = as_token(cache.get(keys.everything)), as_token(cache.get(keys.own))
            if now != (generation.everything, generation.own):
                return None if None in now else False
            new, ttl, kind = generation._replace(own=new_token()), self._negative_ttl, self.kind
            missing = pack(
                kind, asked, DOES_NOT_EXIST, generation=new, cached_at=asked_at, ttl=ttl, etag=None
            )
            cache.set(keys.own, new.own, self._unknown_life)
            cache.set(keys.entry, self._codec.encode(missing), math.ceil(ttl))
            return True

    def invalidate(self, asked: str) -> bool:
        """Never serve what was stored or fetched so far; tell whether there was an entry."""
        keys = self._keys(asked)
        self._renew(keys.own, asked, self.known_life)
        with self.errors.raised_to("invalidate", asked) as cache:
            # A "does not exist" that is just being written may replace our generation by its own,
            # without having seen ours. Stored under another expiry, it is asked about again.
            cache.set(keys.expiry, new_token(), self.known_life)
            return cache.delete(keys.entry)

    def invalidate_all(self) -> None:
        """Never serve what was stored or fetched so far, of any id, of both kinds."""
        self._renew(EVERYTHING, None, None)

    def expire(self, asked: str) -> None:
        """Make the entry of an id stale: the Config Service is asked before it is served again."""
        self._renew(self._keys(asked).expiry, asked, self.known_life)

    def _understood(
        self, asked: str, found: list[object]
    ) -> tuple[Generation | None, Entry[D] | None, bool]:
        """Return generation and entry of what was found of an id; and whether that is no entry."""
        last = self._memory(asked).last
        if last is not None and last.found == found:
            generation, entry = last.generation, last.entry
            aged = entry.aged(self._stale_max_age, time(), expired=entry.expired)
            return generation, aged, False
        stored, *tokens = found
        now = as_generation(*tokens)
        if stored is None or now is None:
            return now, None, False
        try:
            if last is not None and last.found[0] == stored:  # under another generation
                entry, is_short = last.entry, True
            else:
                text = self._codec.decode(stored)
                entry, is_short = unpack(self.kind, asked, text), len(text) <= _LENGTH_REMEMBERED
        except ValueError:
            return now, None, True
        counting = entry.under(now, self._stale_max_age, time())
        if counting is not None and is_short:
            self._memory(asked).last = _Look([*map(hide, found)], now, counting)
        return now, counting, False

    def _get_readable(self, keys: Keys, asked: str) -> list[Any]:
        """Read key by key, and delete what cannot be read, or it would stay for ever."""
        found: list[Any] = []
        with self.errors.raised_to("read", asked) as cache:
            for key in keys:
                try:
                    found += map(hide, cache.get_many([key]))
                except UNREADABLE:
                    self._count("rejected")
                    with suppress(Exception):  # a server that takes no writes can still be read
                        cache.delete(key)
                    found.append(None)
        return found

    def _mint(self, keys: Keys, found: list[object], asked: str) -> Generation | None:
        """Write the generations that are absent. Absent means "unknown", not "none"."""
        everything, own, expiry = found
        with self.errors.raised_to("store", asked) as cache:
            everything = mint(cache, keys.everything, everything, None)
            own = everything and mint(cache, keys.own, own, self._unknown_life)
        generation = as_generation(everything, own, expiry)
        if generation is None and not cache.keeps_nothing:
            # The cache hides its failures (IGNORE_EXCEPTIONS), or keeps nothing: treat it as down.
            raise self.errors.failure("read", asked, LookupError("it keeps nothing"))
        return generation

    def _renew(self, key: str, asked: str | None, life: int | None) -> None:
        with self.errors.raised_to("invalidate", asked) as cache:
            if renew(cache, key, life):
                return
        raise CacheError(
            f"The cache {self._alias!r} did not keep an invalidation of"
            f" {asked or 'all instances'!r}: what it holds may still be served. Invalidate again"
            " when the cache accepts writes.",
            instance_id=asked,
        )
