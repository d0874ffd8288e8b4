"""Entries of one kind in a Django cache alias, and the generations that decide which still count.

Whoever invalidates writes a new random generation. Whoever fetches reads the generations *before*
asking, and stores under them; whoever reads takes entry and generations in one ``get_many`` and
rejects an entry of other ones. So an answer that was under way while somebody invalidated may be
stored, but is never served: on every backend, without locks, without scanning.
"""

from __future__ import annotations

import math
import pickle
import re
import secrets
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from time import time
from typing import Any, Generic, NamedTuple, TypeVar

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.dummy import DummyCache
from msgspec import Struct

from instance_lookup.codec import Codec
from instance_lookup.conf import Settings
from instance_lookup.counters import Counters
from instance_lookup.entry import DOES_NOT_EXIST, Entry, Generation, Kind, pack, unpack
from instance_lookup.exceptions import CacheError

D = TypeVar("D", bound=Struct)

EVERYTHING = "instance_generation"
"""Key of the generation of all entries, of both kinds."""
_MARGIN = 60
"""Seconds by which a generation outlives the entries stored under it."""
_KEY_SAFE = re.compile(r"[!-~]{1,150}")
_UNREADABLE = (
    *(ValueError, TypeError, LookupError, AttributeError, ImportError, EOFError),
    *(OverflowError, MemoryError, pickle.PickleError, zlib.error),
)
"""What serializers raise on a value that something else wrote. A server that fails raises others."""


class Keys(NamedTuple):
    """The keys that one read takes together."""

    entry: str
    everything: str
    own: str
    expiry: str


@dataclass(frozen=True, slots=True)
class Reading(Generic[D]):
    """What one look into the cache found."""

    generation: Generation | None
    """What a new entry is to be stored under; ``None``: unknown, so nothing may be stored."""
    entry: Entry[D] | None


@dataclass(frozen=True, slots=True)
class Peek(Generic[D]):
    """What a look that leaves no trace found: nothing minted, counted or deleted."""

    stored: object = field(repr=False)
    """The entry's value as the backend gave it; ``None``: there is none, or nobody can read it."""
    entry: Entry[D] | None
    """What a lookup would make of it."""
    unreadable: bool = False


class EntryStore(Generic[D]):
    """The entries of one kind. Every method raises ``CacheError`` when the backend fails."""

    def __init__(self, kind: Kind[D], settings: Settings, counters: Counters) -> None:
        self.kind = kind
        self._alias = settings.cache_alias
        self._stale_max_age = settings.stale_max_age
        self._negative_ttl = settings.negative_ttl
        self._entry_life = math.ceil(settings.stale_max_age)
        self._known_life = self._entry_life + _MARGIN
        self._unknown_life = (
            math.ceil(settings.config_service_timeout + settings.negative_ttl) + _MARGIN
        )
        self._codec = Codec(settings)
        self._count = counters.add

    def read(self, asked: str) -> Reading[D]:
        """Return the entry of an id, and the generation that a new one is to be stored under."""
        keys = self._keys(asked)
        found = self._get_many(keys, asked)
        generation = _generation(keys, found)
        if generation is None:
            return Reading(self._mint(keys, found, asked), None)
        stored = found.get(keys.entry)
        return Reading(
            generation, None if stored is None else self._unpack(asked, stored, generation)
        )

    def peek(self, asked: str) -> Peek[D]:
        """Look at what is stored for an id without changing anything: for inspection."""
        keys = self._keys(asked)
        try:
            found = caches[self._alias].get_many(keys)
        except _UNREADABLE:
            return Peek(None, None, unreadable=True)
        except Exception as exc:
            raise self._error("read", asked, exc) from exc
        stored, generation = found.get(keys.entry), _generation(keys, found)
        if stored is None or generation is None:
            return Peek(stored, None)
        try:
            return Peek(stored, self._decoded(asked, stored, generation))
        except ValueError:
            return Peek(stored, None, unreadable=True)

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
        """Store a document under the generation that was read before it was asked for."""
        keys = self._keys(asked)
        with self._backend("store", asked) as cache:
            packed = self._pack(asked, body, generation, cached_at, ttl, etag)
            cache.set(keys.entry, packed, self._entry_life)
            cache.touch(keys.own, self._known_life)

    def write_missing(self, asked: str, *, generation: Generation, asked_at: float) -> None:
        """Remember that an id does not exist.

        Under a new generation, so that an older "here it is" still under way cannot bring it back.
        Not if somebody invalidated meanwhile: then this answer may be the older one.
        """
        keys = self._keys(asked)
        with self._backend("store", asked) as cache:
            now = _text(cache.get(keys.everything)), _text(cache.get(keys.own))
            if now != (generation.everything, generation.own):
                return
            fresh = generation._replace(own=_random())
            packed = self._pack(asked, DOES_NOT_EXIST, fresh, asked_at, self._negative_ttl, None)
            cache.set(keys.own, fresh.own, self._unknown_life)
            cache.set(keys.entry, packed, math.ceil(self._negative_ttl))

    def invalidate(self, asked: str) -> bool:
        """Have nothing served that was stored or fetched so far. Tell whether there was an entry."""
        keys = self._keys(asked)
        self._renew(keys.own, asked, self._known_life)
        with self._backend("invalidate", asked) as cache:
            # A "does not exist" that is just being written may replace our generation by its own,
            # without having seen ours. Stored under another expiry, it is asked about anew.
            cache.set(keys.expiry, _random(), self._known_life)
            return bool(cache.delete(keys.entry))

    def invalidate_all(self) -> None:
        """Do the same for all ids, of both kinds."""
        self._renew(EVERYTHING, None, None)

    def expire(self, asked: str) -> None:
        """Make the entry of an id stale: the Config Service is asked before it is served again."""
        self._renew(self._keys(asked).expiry, asked, self._known_life)

    def _keys(self, asked: str) -> Keys:
        kind, name = self.kind, _key_safe(asked)
        return Keys(
            f"{kind.entry_key}:{name}",
            EVERYTHING,
            f"{kind.generation_key}:{name}",
            f"{kind.expiry_key}:{name}",
        )

    def _pack(
        self,
        asked: str,
        body: bytes,
        generation: Generation,
        cached_at: float,
        ttl: float,
        etag: str | None,
    ) -> str:
        return self._codec.encode(
            pack(
                self.kind,
                asked,
                body,
                generation=generation,
                cached_at=cached_at,
                ttl=ttl,
                etag=etag,
            )
        )

    def _unpack(self, asked: str, stored: object, generation: Generation) -> Entry[D] | None:
        try:
            return self._decoded(asked, stored, generation)
        except ValueError:
            self._count("rejected")
            return None

    def _decoded(self, asked: str, stored: object, generation: Generation) -> Entry[D] | None:
        return unpack(
            self.kind,
            asked,
            self._codec.decode(stored),
            generation=generation,
            stale_max_age=self._stale_max_age,
            now=time(),
        )

    def _get_many(self, keys: Keys, asked: str) -> dict[str, Any]:
        cache = caches[self._alias]
        try:
            return cache.get_many(keys)
        except _UNREADABLE:
            return self._get_readable(keys, asked)
        except Exception as exc:
            raise self._failure("read", asked, exc) from exc

    def _get_readable(self, keys: Keys, asked: str) -> dict[str, Any]:
        """Read key by key, and delete what no serializer of ours wrote, or it would stay for ever."""
        found = {}
        with self._backend("read", asked) as cache:
            for key in keys:
                try:
                    found[key] = cache.get(key)
                except _UNREADABLE:
                    self._count("rejected")
                    cache.delete(key)
        return found

    def _mint(self, keys: Keys, found: dict[str, Any], asked: str) -> Generation | None:
        """Make up for generations that are absent: that is not "none", it is "unknown"."""
        with self._backend("read", asked) as cache:
            everything = _minted(cache, keys.everything, found, None)
            own = _minted(cache, keys.own, found, self._unknown_life)
        if everything is None or own is None:
            return None
        return Generation(everything, own, _text(found.get(keys.expiry)) or "")

    def _renew(self, key: str, asked: str | None, life: int | None) -> None:
        """Write a new random value, and see that it took: some backends swallow failed writes."""
        with self._backend("invalidate", asked) as cache:
            before = None
            with suppress(*_UNREADABLE):
                before = cache.get(key)
            for _ in range(2):
                cache.set(key, _random(), life)
                # Not compared with what was set: another invalidation in between is as good.
                if cache.get(key) not in (None, before) or isinstance(cache, DummyCache):
                    return
        raise CacheError(
            f"The cache {self._alias!r} did not keep an invalidation of {asked or 'all instances'!r}.",
            instance_id=asked,
        )

    @contextmanager
    def _backend(self, verb: str, asked: str | None) -> Iterator[BaseCache]:
        cache = caches[self._alias]
        try:
            yield cache
        except Exception as exc:
            raise self._failure(verb, asked, exc) from exc

    def _failure(self, verb: str, asked: str | None, exc: Exception) -> CacheError:
        self._count("errors")
        return self._error(verb, asked, exc)

    def _error(self, verb: str, asked: str | None, exc: Exception) -> CacheError:
        return CacheError(
            f"The cache {self._alias!r} failed to {verb} {asked or 'all instances'!r}: {type(exc).__name__}.",
            instance_id=asked,
        )


def _minted(cache: BaseCache, key: str, found: dict[str, Any], life: int | None) -> str | None:
    """Return the generation at ``key``, having made one where there was none."""
    present = found.get(key)
    if (known := _text(present)) is not None:
        return known
    if present is None:
        cache.add(key, _random(), life)
    else:
        cache.set(key, _random(), life)
    # Read back rather than believed: file-based "add" is no atomic one, and another may have won.
    return _text(cache.get(key))


def _generation(keys: Keys, found: dict[str, Any]) -> Generation | None:
    """Return the generation as read, ``None`` where a part of it is unknown."""
    everything, own = _text(found.get(keys.everything)), _text(found.get(keys.own))
    if everything is None or own is None:
        return None
    return Generation(everything, own, _text(found.get(keys.expiry)) or "")


def _text(value: object) -> str | None:
    """Return a generation as read, ``None`` for what cannot be one.

    Some serializers give text back as bytes.
    """
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return value if isinstance(value, str) and value.isalnum() else None


def _random() -> str:
    # A letter in front: django-redis gives text of digits only back as a number.
    return "g" + secrets.token_hex(8)


def _key_safe(asked: str) -> str:
    """Return the id, or a digest of one that is no key: memcached takes 250 visible characters.

    Two ids that met in one key would only share their invalidations; an entry tells whose it is.
    """
    if _KEY_SAFE.fullmatch(asked):
        return asked
    return sha256(asked.encode(errors="surrogatepass")).hexdigest()
