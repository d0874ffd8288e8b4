"""Entries of one kind in a Django cache alias, and the generations that decide which still count.

An invalidation writes a new random generation. A fetch reads the generations *before* it asks, and
stores under them; a read takes entry and generations in one ``get_many`` and rejects an entry of
other ones. So an answer that was under way during an invalidation may be stored, but is never
served: on every backend, without locks, without scanning.
"""

from __future__ import annotations

import math
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from itertools import chain
from time import time
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.core.cache import InvalidCacheBackendError, caches
from django.core.cache.backends.dummy import DummyCache
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
from instance_lookup.cache.generations import mint, renew
from instance_lookup.cache.keys import EVERYTHING, Keys, as_token, new_token
from instance_lookup.cache.scan import stored_ids
from instance_lookup.exceptions import CacheError, CacheUnwritable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from django.core.cache.backends.base import BaseCache

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


class _Memory(Struct, Generic[D]):
    """The last entry of one id, so that the same text need not be decoded twice."""

    last: tuple[object, Entry[D]] | None = None
    """The value as the backend gave it, and what it holds: one tuple, for threads to swap."""


class SharedTier(Generic[D]):
    """The entries of one kind. Every method raises ``CacheError`` when the backend fails."""

    def __init__(self, kind: Kind[D], settings: Settings, counters: Counters) -> None:
        self.kind = kind
        self._alias = settings.cache_alias
        self._stale_max_age, self._negative_ttl = settings.stale_max_age, settings.negative_ttl
        self._entry_life = math.ceil(settings.stale_max_age)
        self.known_life = self._entry_life + _MARGIN
        unknown = settings.config_service_timeout + settings.negative_ttl
        self._unknown_life = math.ceil(unknown) + _MARGIN
        self._keys = lru_cache(_KEYS_KEPT)(partial(Keys.of, kind))
        self._memory = lru_cache(_ENTRIES_REMEMBERED)(lambda _asked: _Memory[D]())
        self._codec = Codec(settings)
        self._count = counters.add

    def read(self, asked: str, *, since: int = 0, again: bool = False) -> Reading[D]:
        """Return the entry of the id ``asked``, and the generation to store a new one under.

        ``since`` is put into the reading. With ``again`` an unusable entry is not counted again.
        """
        keys = self._keys(asked)
        try:
            found = dict(caches[self._alias].get_many(keys))  # one may answer with no dict at all
        except UNREADABLE:
            found = self._get_readable(keys, asked)
        except Exception as exc:
            raise self.failure("read", asked, exc) from exc
        generation = keys.generation(found)
        if generation is None:
            return Reading(self._mint(keys, found, asked), None, since)
        entry = None
        if (stored := found.get(keys.entry)) is not None:
            try:
                entry = self._entry(asked, stored, generation)
            except ValueError:
                if not again:
                    self._count("rejected")
        return Reading(generation, entry, since)

    def read_many(self, since: Mapping[str, int]) -> dict[str, Reading[D]]:
        """Return what one look finds fresh of many ids. ``since`` of each goes into its reading."""
        keys = {asked: self._keys(asked) for asked in since}
        try:
            found = dict(caches[self._alias].get_many({*chain.from_iterable(keys.values())}))
        except UNREADABLE:
            return {}
        except Exception as exc:
            raise self.failure("read", next(iter(keys)), exc) from exc
        readings = {}
        for asked, own in keys.items():
            stored, generation = found.get(own.entry), own.generation(found)
            if stored is not None and generation is not None:
                with suppress(ValueError):
                    entry = self._entry(asked, stored, generation)
                    if entry is not None and entry.freshness is Freshness.FRESH:
                        readings[asked] = Reading(generation, entry, since[asked])
        return readings

    def peek(self, asked: str) -> Peek[D]:
        """Look at what is stored for an id without changing anything: for inspection."""
        keys = self._keys(asked)
        try:
            found = dict(caches[self._alias].get_many(keys))
        except UNREADABLE:
            return Peek(None, None, unreadable=True)
        except Exception as exc:
            raise self._error("read", asked, exc) from exc
        stored, generation = found.get(keys.entry), keys.generation(found)
        if stored is None or generation is None:
            return Peek(stored, None)
        try:
            return Peek(stored, self._entry(asked, stored, generation))
        except ValueError:
            return Peek(stored, None, unreadable=True)

    def stored_ids(self) -> set[str] | None:
        """Return the ids of all entries, ``None`` where the cache cannot list them. Slow."""
        try:
            return stored_ids(caches[self._alias], self.kind, self._codec)
        except Exception as exc:
            raise self._error("list", None, exc) from exc

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
        with self._backend("store", asked) as cache:
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
        with self._backend("store", asked) as cache:
            now = as_token(cache.get(keys.everything)), as_token(cache.get(keys.own))
            if now != (generation.everything, generation.own):
                return None if None in now else False
            fresh, ttl, kind = generation._replace(own=new_token()), self._negative_ttl, self.kind
            missing = pack(
                kind,
                asked,
                DOES_NOT_EXIST,
                generation=fresh,
                cached_at=asked_at,
                ttl=ttl,
                etag=None,
            )
            cache.set(keys.own, fresh.own, self._unknown_life)
            cache.set(keys.entry, self._codec.encode(missing), math.ceil(ttl))
            return True

    def invalidate(self, asked: str) -> bool:
        """Never serve what was stored or fetched so far; tell whether there was an entry."""
        keys = self._keys(asked)
        self._renew(keys.own, asked, self.known_life)
        with self._backend("invalidate", asked) as cache:
            # A "does not exist" that is just being written may replace our generation by its own,
            # without having seen ours. Stored under another expiry, it is asked about again.
            cache.set(keys.expiry, new_token(), self.known_life)
            return bool(cache.delete(keys.entry))

    def invalidate_all(self) -> None:
        """Never serve what was stored or fetched so far, of any id, of both kinds."""
        self._renew(EVERYTHING, None, None)

    def expire(self, asked: str) -> None:
        """Make the entry of an id stale: the Config Service is asked before it is served again."""
        self._renew(self._keys(asked).expiry, asked, self.known_life)

    def _entry(self, asked: str, stored: object, generation: Generation) -> Entry[D] | None:
        memory = self._memory(asked)
        last = memory.last  # read once: another thread may swap it
        if last is not None and last[0] == stored:
            entry = last[1]
        else:
            text = self._codec.decode(stored)
            entry = unpack(self.kind, asked, text)
            memory.last = (stored, entry) if len(text) <= _LENGTH_REMEMBERED else None
        return entry.under(generation, self._stale_max_age, time())

    def _get_readable(self, keys: Keys, asked: str) -> dict[str, Any]:
        """Read key by key, and delete what cannot be read, or it would stay for ever."""
        found: dict[str, Any] = {}
        with self._backend("read", asked) as cache:
            for key in keys:
                try:
                    found |= cache.get_many([key])
                except UNREADABLE:
                    self._count("rejected")
                    cache.delete(key)
        return found

    def _mint(self, keys: Keys, found: dict[str, Any], asked: str) -> Generation | None:
        """Write the generations that are absent. Absent means "unknown", not "none"."""
        with self._backend("store", asked) as cache:
            everything = mint(cache, keys.everything, found, None)
            own = everything and mint(cache, keys.own, found, self._unknown_life)
        generation = keys.generation({**found, keys.everything: everything, keys.own: own})
        if generation is None and not isinstance(cache, DummyCache):
            # The cache hides its failures (IGNORE_EXCEPTIONS), or keeps nothing: treat it as down.
            raise self.failure("read", asked, LookupError("it keeps nothing"))
        return generation

    def _renew(self, key: str, asked: str | None, life: int | None) -> None:
        with self._backend("invalidate", asked) as cache:
            if renew(cache, key, life):
                return
        what = asked or "all instances"
        raise CacheError(
            f"The cache {self._alias!r} did not keep an invalidation of {what!r}:"
            " what it holds may still be served. Invalidate again when the cache accepts writes.",
            instance_id=asked,
        )

    @contextmanager
    def _backend(self, verb: str, asked: str | None) -> Iterator[BaseCache]:
        try:
            yield caches[self._alias]
        except Exception as exc:
            raise self.failure(verb, asked, exc) from exc

    def failure(self, verb: str, asked: str | None, exc: Exception) -> CacheError:
        """Count a failure of the backend, and return the error for it."""
        if isinstance(exc, InvalidCacheBackendError):
            raise exc  # a mistake in the settings, not an outage
        self._count("errors")
        clear_frames(exc.__traceback__)  # the backend's hold the value, and so the keys in it
        return self._error(verb, asked, exc)

    def _error(self, verb: str, asked: str | None, exc: Exception) -> CacheError:
        what = repr(asked) if asked else "all instances"
        return (CacheUnwritable if verb == "store" else CacheError)(
            f"The cache {self._alias!r} failed to {verb} {what}: {type(exc).__name__}.",
            instance_id=asked,
        )
