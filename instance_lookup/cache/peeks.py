"""A look at many entries that leaves no trace: for pages and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from instance_lookup.cache.codec import UNREADABLE
from instance_lookup.cache.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from instance_lookup.cache.keyvalue import KeyValue
    from instance_lookup.cache.reading import Peek
    from instance_lookup.cache.shared import SharedTier

D = TypeVar("D", bound=Struct)

_AT_ONCE = 500
"""Keys of one call: so many a cache in any database takes in one query."""


def peek_many(tier: SharedTier[D], ids: Sequence[str]) -> dict[str, Peek[D]]:
    """Return what ``tier`` holds of each of ``ids``, by one call. Raise ``CacheError``."""
    keys = {asked: Keys.of(tier.kind, asked) for asked in ids}
    wanted = [*{key for each in keys.values() for key in each}]
    with tier.errors.raised_to("read", None, counted=False) as cache:
        try:
            values = cache.get_many(wanted) if wanted else []
        except UNREADABLE:
            values = None
    if values is None:  # one of them cannot be read: which one?
        return {asked: tier.peek(asked) for asked in keys}
    found = dict(zip(wanted, values, strict=True))
    parts = {key: found[key] for each in keys.values() for key in each[1:]}
    with tier.errors.raised_to("read", None, counted=False) as cache:
        tier.tokens.learn(cache, [*parts], [*parts.values()])  # of all at once
    return {asked: tier.peek(asked, [found[key] for key in each]) for asked, each in keys.items()}


def blocked_among(tier: SharedTier[D], ids: Sequence[str]) -> set[str]:
    """Return those of ``ids`` that are blocked in ``tier``; no entry is read. Raise ``CacheError``.

    There may be thousands of them, so it takes some calls.
    """
    blocked: set[str] = set()
    with tier.errors.raised_to("read", None, counted=False) as cache:
        for start in range(0, len(ids), _AT_ONCE):
            part = ids[start : start + _AT_ONCE]
            keys = [Keys.of(tier.kind, asked) for asked in part]
            own, expiry = (
                _parts(tier, cache, [getattr(each, which) for each in keys])
                for which in ("own", "expiry")
            )
            for asked, found in zip(part, zip(keys, own, expiry, strict=True), strict=True):
                if tier.tokens.look(asked, found[0], [None, *found[1:]]).blocked_until:
                    blocked.add(asked)
    return blocked


def _parts(tier: SharedTier[D], cache: KeyValue, keys: Sequence[str]) -> list[object]:
    """Return what is at the keys of parts of generations, of which none has been looked at."""
    found = cache.get_many(keys)
    tier.tokens.learn(cache, keys, found)
    return found
