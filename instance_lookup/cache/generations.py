"""What writes generations into a cache, which may be any that there is."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial
from time import time
from typing import TYPE_CHECKING

from instance_lookup.cache.blocks import warn_of_block
from instance_lookup.cache.codec import UNREADABLE
from instance_lookup.cache.keys import block_end
from instance_lookup.cache.tokens import whole
from instance_lookup.exceptions import CacheError

if TYPE_CHECKING:
    from instance_lookup.cache.entry import Generation
    from instance_lookup.cache.errors import CacheErrors
    from instance_lookup.cache.keys import Keys, Which
    from instance_lookup.cache.keyvalue import KeyValue
    from instance_lookup.cache.tokens import New, Tokens
    from instance_lookup.conf import Settings

MARGIN = 60
"""Seconds by which a generation outlives the entries stored under it."""


class Generations:
    """The generations in one cache alias. Both methods raise ``CacheError``."""

    def __init__(self, kind: str, settings: Settings, errors: CacheErrors, tokens: Tokens) -> None:
        """Write those of ids of this ``kind`` (its name), and of all ids, as ``tokens`` says."""
        self._kind = kind
        self._errors = errors
        self._tokens = tokens
        self._alias = settings.cache_alias
        self.known_life = math.ceil(settings.stale_max_age) + MARGIN
        """Seconds for which the generation of an id with an entry is kept."""
        fetching = math.ceil(settings.config_service_timeout + settings.negative_ttl)
        self.unknown_life = fetching + MARGIN
        """That of an id without one."""

    def mint(self, keys: Keys, found: list[object], asked: str) -> Generation | None:
        """Return the generation of the id ``asked``; write the parts of it that are unknown.

        Absent means "unknown", not "none". ``found`` is what was read before of the three ``keys``
        of a generation. ``None`` is returned where the cache keeps nothing by design.
        """
        parts = self._tokens.look(asked, keys, found)
        with self._errors.raised_to("store", asked) as cache:
            write = partial(self._write, cache, asked, keys, found=found)
            everything = parts.everything or write("everything", life=None)
            own = everything and (parts.own or write("own", life=self.unknown_life))
            expiry = parts.expiry
            if own and expiry is None:
                expiry = write("expiry", life=self.known_life)
        generation = whole(everything, own, expiry)
        if generation is None and not cache.keeps_nothing:
            # The cache hides its failures (IGNORE_EXCEPTIONS), or keeps nothing: treat it as down.
            raise self._errors.failure("read", asked, LookupError("it keeps nothing"))
        return generation

    def renew(
        self, asked: str | None, keys: Keys, which: Which, until: float | None = None
    ) -> None:
        """Write a new part of a generation, and check that the cache kept it.

        ``asked`` is the id that it is of (``None``: of all), ``which`` of the three ``keys`` it is
        at. It blocks the id until ``until`` (Unix time; 0: it does not); ``None``: as the part
        before it does. Some backends swallow failed writes.
        """
        key = getattr(keys, which)
        with self._errors.raised_to("invalidate", asked) as cache:
            before = None
            with suppress(*UNREADABLE):
                before = cache.get(key)
            self._tokens.learn(cache, [key], [before])  # it may be a block, which goes on
            for _ in range(2):
                new = self._tokens.renewed(asked, keys, which, before, until)
                cache.set(key, new.stored, self._life(which, new))
                after = cache.get(key)
                if self._tokens.has_taken(keys, which, before, after, blocks=bool(until)):
                    if asked is not None and until is None and block_end(before) > new.end:
                        warn_of_block(self._kind, asked, [before])  # it was not believed
                    return
                if cache.keeps_nothing and not until:
                    return
        what, again = ("a block", "Block it") if until else ("an invalidation", "Invalidate")
        raise CacheError(
            f"The cache {self._alias!r} did not keep {what} of {asked or 'all instances'!r}: what"
            f" it holds may still be served. {again} again when the cache accepts writes.",
            instance_id=asked,
        )

    def _write(
        self,
        cache: KeyValue,
        asked: str,
        keys: Keys,
        which: Which,
        *,
        found: list[object],
        life: int | None,
    ) -> str | None:
        """Write a part of a generation where what was ``found`` is unknown; return what is there.

        ``None``: the cache does not keep it. Raises what the backend raises.
        """
        key, new = getattr(keys, which), self._tokens.new(asked, keys, which, found)
        if new.end:
            life = self._life(which, new)
        added = cache.add(key, new.stored, life)
        # Read back: "add" of file-based caches is not atomic, and another process may have won.
        known = self._tokens.value(keys, which, cache.get(key), new.least)
        if known is None and added is False:  # what is there is no generation, or not believed
            cache.set(key, new.stored, life)
            known = self._tokens.value(keys, which, cache.get(key), new.least)
        return known

    def _life(self, which: Which, new: New) -> int | None:
        """Return for how many seconds to keep a part: that of a block lives as long as that."""
        if which == "everything":
            return None
        left = new.end - time()
        return max(self.known_life, math.ceil(left) + MARGIN) if left > 0 else self.known_life
