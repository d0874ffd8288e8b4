"""What writes generations into a cache, which may be any that there is."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from instance_lookup.cache.codec import UNREADABLE
from instance_lookup.cache.keys import as_token, new_token

if TYPE_CHECKING:
    from instance_lookup.cache.keyvalue import KeyValue


def mint(cache: KeyValue, key: str, found: object, life: int | None) -> str | None:
    """Return the generation at ``key``; make one if there is none.

    ``found`` is what was read there before, ``life`` the seconds until it expires (``None``:
    never). ``None`` is returned where the cache keeps nothing. Raises what the backend raises.
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


def renew(cache: KeyValue, key: str, life: int | None) -> bool:
    """Write a new random generation, for ``life`` seconds; tell whether the cache kept it.

    Some backends swallow failed writes.
    """
    before = None
    with suppress(*UNREADABLE):
        before = cache.get(key)
    for _ in range(2):
        cache.set(key, new_token(), life)
        # Not compared with what was set: an invalidation by another process in between counts.
        if cache.get(key) not in (None, before) or cache.keeps_nothing:
            return True
    return False
