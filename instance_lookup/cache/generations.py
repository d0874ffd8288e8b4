"""What writes generations into a cache, which may be any of Django's."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.core.cache.backends.dummy import DummyCache

from instance_lookup.cache.codec import UNREADABLE
from instance_lookup.cache.keys import as_token, new_token

if TYPE_CHECKING:
    from django.core.cache.backends.base import BaseCache


def mint(cache: BaseCache, key: str, found: dict[str, Any], life: int | None) -> str | None:
    """Return the generation at ``key``; make one if there is none.

    ``found`` is what was read of ``cache`` before, ``life`` the seconds until it expires (``None``:
    never). ``None`` is returned where the cache keeps nothing. Raises what the backend raises.
    """
    if (known := as_token(found.get(key))) is not None:
        return known
    if key in found:
        cache.set(key, new_token(), life)
    elif cache.add(key, new_token(), life) is None:  # neither added nor there: it failed
        return None
    # Read back: "add" of file-based caches is not atomic, and another process may have won.
    return as_token(cache.get(key))


def renew(cache: BaseCache, key: str, life: int | None) -> bool:
    """Write a new random generation, for ``life`` seconds; tell whether the cache kept it.

    Some backends swallow failed writes.
    """
    before = None
    with suppress(*UNREADABLE):
        before = cache.get(key)
    for _ in range(2):
        cache.set(key, new_token(), life)
        # Not compared with what was set: an invalidation by another process in between counts.
        if cache.get(key) not in (None, before) or isinstance(cache, DummyCache):
            return True
    return False
