"""Entries of one kind in a Django cache alias, and the generations that decide which still count.

An invalidation writes a new random generation. A fetch reads the generations *before* it asks, and
stores under them; a read takes entry and generations in one look and rejects an entry of other
ones. So an answer that was under way during an invalidation may be stored, but is never served.
"""

from __future__ import annotations

import math
from contextlib import suppress
from time import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from instance_lookup import events
from instance_lookup.cache.blocks import Blocks, warn_of_block
from instance_lookup.cache.codec import UNREADABLE, Codec
from instance_lookup.cache.entry import Entry, Freshness, generation_of, pack_missing
from instance_lookup.cache.errors import CacheErrors
from instance_lookup.cache.generations import Generations
from instance_lookup.cache.keys import EVERYTHING, Keys
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.cache.looks import Looks
from instance_lookup.cache.reading import Peek, Reading
from instance_lookup.cache.scan import stored_ids
from instance_lookup.cache.sealed_tokens import tokens_for
from instance_lookup.cache.telling import told
from instance_lookup.exceptions import CacheError
from instance_lookup.frozen import hide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from instance_lookup.cache.entry import Generation
    from instance_lookup.cache.keys import Which
    from instance_lookup.cache.kinds import Kind
    from instance_lookup.cache.looks import Known, Seen
    from instance_lookup.cache.stats import Counters
    from instance_lookup.conf import Settings
    from instance_lookup.frozen import SecretBytes

D = TypeVar("D", bound=Struct)

_ALL = Keys("", EVERYTHING, "", "")
"""The one key of what is of all ids."""


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
        self._negative_ttl = settings.negative_ttl
        self._entry_life = math.ceil(settings.stale_max_age)
        self._codec = Codec(settings)
        self.errors = CacheErrors(settings.cache_alias, counters)
        self.blocks = Blocks()
        self.tokens = tokens_for(settings, self._codec, self.blocks)
        self._looks = Looks(kind, settings, self._codec, self.tokens)
        self._known = self._looks.known
        self._generations = Generations(kind.name, settings, self.errors, self.tokens)
        self.known_life = self._generations.known_life
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
        seen = self._looks.understood(known, asked, found)
        if seen.parts.problem == "generation":
            seen = self._learned(known, asked, found) or seen
        parts, entry, problem = seen
        if problem and not again:
            self._reject(problem)
        if end := parts.blocked_until:
            with suppress(CacheError):  # the id is refused here all the same
                if parts.is_block_lost:
                    self._generations.renew(asked, keys, "own", end)
                else:
                    with self.errors.raised_to("store", asked) as cache:
                        self.tokens.prove(cache, keys, str(parts.compared), again=False)
            return Reading(parts.compared, None, since, blocked_until=end)
        if (generation := parts.generation) is None:
            del found[0]  # debug pages show local variables, and it holds API keys
            if not mint:
                return Reading(parts.compared, entry, since, unminted=True)
            if problem == "generation":
                warn_of_block(self.kind.name, asked, found[1:])
            generation = self._generations.mint(keys, found, asked)
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
            parts, entry, _ = self._looks.understood(each, asked, own)
            if entry is not None and entry.freshness is Freshness.FRESH:
                is_unknown = parts.generation is None
                readings[asked] = Reading(parts.compared, entry, since[asked], unminted=is_unknown)
        return readings

    told_read_many = told("read", lambda readings: map(_outcome, readings.values()))(read_many)

    def peek(self, asked: str, found: list[Any] | None = None) -> Peek[D]:
        """Look at what is stored for an id, or ``found`` at its keys, without changing anything."""
        known = self._known(asked)
        found = found or self._look(known.keys, asked, counted=False)
        if found is None:
            return Peek(None, None, unreadable=True)
        seen = self._looks.understood(known, asked, found)
        if seen.parts.problem == "generation":
            seen = self._learned(known, asked, found, counted=False) or seen
        parts, entry, problem = seen
        end = parts.blocked_until
        return Peek(found[0], entry, problem == "entry", end, parts.generation)

    def block_of(self, asked: str) -> float:
        """Look until which Unix time an id is blocked; 0: it is not."""
        keys = self._known(asked).keys
        with self.errors.raised_to("read", asked) as cache:
            found = cache.get_many([keys.own, keys.expiry])
            self.tokens.learn(cache, keys[2:], found)
        return self.tokens.look(asked, keys, [None, *found]).blocked_until

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
        # With keys it is sealed for its key and generation.
        named = generation_of(packed) if self._codec.encryption else ""
        with self.errors.raised_to("store", asked) as cache:
            cache.set(keys.entry, self._codec.encode(packed, keys.entry, named), self._entry_life)
            cache.touch(keys.own, self._generations.known_life)
            self.tokens.prove(cache, keys, named)

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
            found = cache.get(keys.everything), cache.get(keys.own)
            everything = self.tokens.value(keys, "everything", found[0])
            own = self.tokens.value(keys, "own", found[1])
            if (everything, own) != (generation.everything, generation.own):
                return None if None in (everything, own) else False
            token = self.tokens.new(asked, keys, "own", [*found, None])
            new, ttl = generation._replace(own=token.value), self._negative_ttl
            missing = pack_missing(self.kind, asked, new, cached_at=asked_at, ttl=ttl)
            cache.set(keys.own, token.stored, self._generations.unknown_life)
            self.tokens.value(keys, "own", token.stored)  # from now on it is the newest
            cache.set(keys.entry, self._codec.encode(missing, keys.entry, str(new)), math.ceil(ttl))
            self.tokens.prove(cache, keys, str(new))
            return True

    @told("invalidate")
    def invalidate(self, asked: str, until: float | None = None) -> bool:
        """Never serve what was stored or fetched so far; tell whether there was an entry.

        Block the id until ``until`` (Unix time); 0: lift its block; ``None``: leave that as it is.
        """
        keys = self._known(asked).keys
        # Both parts: a "does not exist" that is just being written may replace our generation by
        # its own, without having seen ours. Stored under another expiry, it is asked about again.
        # A block in either part counts. It is written in the other order: an invalidation by
        # another process, which leaves blocks as it finds them, can miss one of the two only.
        began = int(time() * 1000)
        order: tuple[Which, ...] = ("own", "expiry") if until is None else ("expiry", "own")
        for part in order:
            self._generations.renew(asked, keys, part, until)
        if until is not None:
            self.blocks.remember(asked, until, began)
        with self.errors.raised_to("invalidate", asked) as cache:
            reached = cache.delete(keys.entry)
        self._tell_invalidation(self.kind.name)
        return reached

    @told("invalidate")
    def invalidate_all(self) -> None:
        """Never serve what was stored or fetched so far, of any id, of both kinds."""
        self._generations.renew(None, _ALL, "everything")
        self._tell_invalidation("all")

    @told("expire")
    def expire(self, asked: str) -> None:
        """Make the entry of an id stale: the Config Service is asked before it is served again."""
        self._generations.renew(asked, self._known(asked).keys, "expiry")
        self._tell_invalidation(self.kind.name)

    def hear(self, asked: str | None) -> None:
        """Note that another process changed what is at the keys of an id (``None``: of all)."""
        self.tokens.hear(None if asked is None else Keys.of(self.kind, asked))

    def _learned(
        self, known: Known[D], asked: str, found: list[Any], *, counted: bool = True
    ) -> Seen[D] | None:
        """Return what was ``found`` means after a key was removed; ``None``: that is not known."""
        with self.errors.raised_to("read", asked, counted=counted) as cache:
            has_learned = self.tokens.learn(cache, known.keys[1:], found[1:])
        return self._looks.understood(known, asked, found) if has_learned else None

    def _look(self, keys: Sequence[str], asked: str, *, counted: bool = True) -> list[Any] | None:
        """Return the value of each key; ``None``: one of them cannot be read."""
        try:
            return key_values[self._alias].get_many(keys)
        except UNREADABLE:
            return None
        except Exception as exc:
            raise self.errors.failure("read", asked, exc, counted=counted) from exc

    def _reject(self, reason: str) -> None:
        self._count("rejected")
        if events.watchers:
            events.tell(events.Rejection(reason))

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
                    self._reject("entry")
                    with suppress(Exception):  # a server that takes no writes can still be read
                        cache.delete(key)
                    found.append(None)
        return found
