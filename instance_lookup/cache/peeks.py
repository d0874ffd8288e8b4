"""A look at many entries that leaves no trace: for pages and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from instance_lookup.cache.codec import UNREADABLE
from instance_lookup.cache.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from instance_lookup.cache.reading import Peek
    from instance_lookup.cache.shared import SharedTier

D = TypeVar("D", bound=Struct)


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
    return {asked: tier.peek(asked, [found[key] for key in each]) for asked, each in keys.items()}
