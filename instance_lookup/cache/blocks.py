"""Blocks: an instance that no user gets for a time, whatever the Config Service says.

A block is a generation of a special form (``keys.new_token``), so every read sees it at no cost.
"""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime, timedelta
from time import time
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from instance_lookup.cache.keys import block_end
from instance_lookup.conf.validators import complain
from instance_lookup.exceptions import InstanceBlocked
from instance_lookup.resilience.expiring import Expiring

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("instance_lookup")

_LONGEST = 366 * 86_400
"""Seconds."""
_Duration = Annotated[float, Meta(ge=1, le=_LONGEST, description="from 1 second to 366 days")]


class Blocks:
    """The blocks that this process has read or set: they go on while the cache cannot be read."""

    def __init__(self) -> None:
        self._ends: Expiring[tuple[float, int]] = Expiring(_LONGEST)
        self.known = self._ends.items
        """Ids that are, or were, blocked: each hit looks whether its own is one of them."""

    def until(self, asked: str) -> float:
        """Return the Unix time until which an id is blocked, as this process last read; 0: no."""
        known = self._ends.get(asked) if self._ends.items else None
        return known[0] if known is not None and known[0] > time() else 0.0

    def since(self, asked: str) -> int:
        """Return when the part that blocks an id was made (Unix milliseconds); 0: not known."""
        known = self._ends.get(asked)
        return 0 if known is None else known[1]

    def see(self, asked: str, own: object, expiry: object) -> float:
        """Return until when an id is blocked by what was just read at two of its keys; 0: no."""
        if (end := block_end(own, expiry)) and end > time():
            self.remember(asked, end)
            return end
        # Where nothing was read, the cache may be failing, and hide it. Of two threads that read at
        # the same time the older look may come last: what is remembered is then wrong until the
        # next look. Lookups go by what they read themselves; a fetch looks again when it ends.
        if own is not None and self._ends.items:
            self.remember(asked, 0.0)
        return 0.0

    def remember(self, asked: str, until: float, since: int = 0) -> None:
        """Remember that an id is blocked until a Unix time; 0: that it is not.

        ``since`` is when the part that says so was made, in Unix milliseconds.
        """
        if until:
            self._ends.put(asked, (until, since))
        else:
            self._ends.drop(asked)


def warn_of_block(kind: str, asked: str, parts: Sequence[object]) -> None:
    """Say so if ``parts``, as found and not believed, would block an id: its block is lost.

    ``kind`` is what kind of thing the id ``asked`` is of.
    """
    if (end := block_end(*parts)) > time():
        logger.warning(
            "A block of %s %r until %s does not count, since none of ENCRYPTION_KEYS made it: the"
            " Config Service decides again. If a key was removed, block it again.",
            kind,
            asked,
            moment(end),
        )


def seconds_of(duration: float | timedelta) -> float:
    """Return the seconds of a block. Raise ``ValueError`` unless it is one that can be set."""
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if complaint := complain(seconds, _Duration):
        raise ValueError(f"the duration {complaint}")
    return float(seconds)


def end_of(duration: float | timedelta, now: float) -> float:
    """Return the Unix time at which a block that begins ``now`` ends. Raise ``ValueError``."""
    return float(math.ceil(now + seconds_of(duration)))


def moment(at: float) -> str:
    """Return a Unix time for people, such as ``2026-11-30 01:00:00 UTC``."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def blocked(instance_id: str, until: float) -> InstanceBlocked:
    """Return the error that tells operators until when (Unix time) an instance is blocked."""
    return InstanceBlocked(
        f"Instance {instance_id!r} is blocked until {moment(until)}: it is neither fetched nor"
        " served. 'invalidate_instance_cache --unblock' lifts the block.",
        instance_id=instance_id,
        reason="blocked",
    )
