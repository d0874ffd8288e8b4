"""What writes generations into a cache, which may be any that there is."""

from __future__ import annotations

import math
from contextlib import suppress
from time import time
from typing import TYPE_CHECKING

from instance_lookup.cache.codec import UNREADABLE
from instance_lookup.cache.keys import as_generation, as_token, block_end, new_token
from instance_lookup.exceptions import CacheError

if TYPE_CHECKING:
    from instance_lookup.cache.entry import Generation
    from instance_lookup.cache.errors import CacheErrors
    from instance_lookup.cache.keys import Keys
    from instance_lookup.cache.keyvalue import KeyValue
    from instance_lookup.conf import Settings

_MARGIN = 60
"""Seconds by which a generation outlives the entries stored under it."""


class Generations:
    """The generations in one cache alias. Both methods raise ``CacheError``."""

    def __init__(self, settings: Settings, errors: CacheErrors) -> None:
        self._errors = errors
        self._alias = settings.cache_alias
        self.known_life = math.ceil(settings.stale_max_age) + _MARGIN
        """Seconds for which the generation of an id with an entry is kept."""
        fetching = math.ceil(settings.config_service_timeout + settings.negative_ttl)
        self.unknown_life = fetching + _MARGIN
        """That of an id without one."""

    def mint(self, keys: Keys, found: list[object], asked: str) -> Generation | None:
        """Return the generation of the id ``asked``; write the parts of it that are absent.

        Absent means "unknown", not "none". ``found`` is what was read before of the three ``keys``
        of a generation. ``None`` is returned where the cache keeps nothing by design.
        """
        everything, own, expiry = found
        with self._errors.raised_to("store", asked) as cache:
            everything = _mint(cache, keys.everything, everything, None)
            own = everything and _mint(cache, keys.own, own, self.unknown_life)
        generation = as_generation(everything, own, expiry)
        if generation is None and not cache.keeps_nothing:
            # The cache hides its failures (IGNORE_EXCEPTIONS), or keeps nothing: treat it as down.
            raise self._errors.failure("read", asked, LookupError("it keeps nothing"))
        return generation

    def renew(
        self, key: str, asked: str | None, life: int | None, until: float | None = None
    ) -> None:
        """Write a new part of a generation at ``key``, and check that the cache kept it.

        ``asked`` is the id that it is of (``None``: of all), ``life`` the seconds until it expires
        (``None``: never). It blocks the id until ``until`` (Unix time; 0: it does not); ``None``:
        as the part before it does. Some backends swallow failed writes.
        """
        with self._errors.raised_to("invalidate", asked) as cache:
            before = None
            with suppress(*UNREADABLE):
                before = cache.get(key)
            end = block_end(before) if until is None else until
            if life is not None and (left := end - time()) > 0:
                life = max(life, math.ceil(left) + _MARGIN)
            for _ in range(2):
                cache.set(key, new_token(end), life)
                after = cache.get(key)
                # Not compared with what was set: an invalidation by another process in between
                # counts, unless it has replaced our block without having seen it.
                if after not in (None, before) and (not until or block_end(after)):
                    return
                if cache.keeps_nothing and not until:
                    return
        what, again = ("a block", "Block it") if until else ("an invalidation", "Invalidate")
        raise CacheError(
            f"The cache {self._alias!r} did not keep {what} of {asked or 'all instances'!r}: what"
            f" it holds may still be served. {again} again when the cache accepts writes.",
            instance_id=asked,
        )


def _mint(cache: KeyValue, key: str, found: object, life: int | None) -> str | None:
    """Return the part of a generation at ``key``, where ``found`` was read; write one if need be.

    ``None``: the cache does not keep it. Raises what the backend raises.
    """
    if (known := as_token(found)) is not None:
        return known
    added = cache.add(key, new_token(), life)
    # Read back: "add" of file-based caches is not atomic, and another process may have won.
    known = as_token(cache.get(key))
    if known is None and added is False:  # what is there is no generation
        cache.set(key, new_token(), life)
        known = as_token(cache.get(key))
    return known
