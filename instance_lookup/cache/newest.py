"""The newest generations that this process knows of: an older one that comes back is a replay."""

from __future__ import annotations

import math
import re
import secrets
from typing import TYPE_CHECKING, NamedTuple, Self

from instance_lookup.cache.keys import EVERYTHING
from instance_lookup.concurrency.forks import Guarded
from instance_lookup.resilience.expiring import Expiring

if TYPE_CHECKING:
    from instance_lookup.cache.keys import Keys

_PART = re.compile(
    r"(?:g(?P<verb>until|freed)(?P<end>[0-9]{1,10}))?g(?P<at>[0-9a-f]{12})[0-9a-f]{16}"
    r"(?:o(?P<floor>[0-9a-f]{12}))?(?:w(?P<was>[0-9a-f]{16}))?"
)

_IDS = 10_000
"""Ids of which something is known."""
_NEVER = (0.0, 0)


class Part(NamedTuple):
    """A part of a generation that was made with ``ENCRYPTION_KEYS``."""

    value: str
    """As entries name it."""
    at: int
    """When it was made, in Unix milliseconds: later than what it replaced, whatever the clocks."""
    until: float = 0.0
    """Unix time until which it blocks the id."""
    freed: float = 0.0
    """Unix time until which it says that the block of before is lifted."""
    floor: int = 0
    """Of an expiry: the id's own part is not older than that."""
    was: str = ""
    """The part without a tag that it replaced: values of the release before name that one."""

    @classmethod
    def parse(cls, value: str) -> Self | None:
        """Return the part that :func:`new_part` made; ``None`` for anything else."""
        found = _PART.fullmatch(value)
        if found is None:
            return None
        verb, end, at, floor, was = found.groups()
        return cls(
            value,
            int(at, 16),
            float(end) if verb == "until" else 0.0,
            float(end) if verb == "freed" else 0.0,
            int(floor or "0", 16),
            f"g{was}" if was else "",
        )


def new_part(at: int, *, until: float, freed: float, floor: int, was: str) -> Part:
    """Return a random part; what the arguments mean is said of the fields of :class:`Part`."""
    verb, end = ("until", until) if until else ("freed", freed)
    mark = f"g{verb}{math.ceil(end)}" if end else ""
    floored = f"o{floor:012x}" if floor else ""
    value = f"{mark}g{at:012x}{secrets.token_hex(8)}{floored}{was and 'w'}{was[1:]}"
    return Part(value, at, until, 0.0 if until else freed, floor, was)


class Newest(Guarded):
    """What is known of each key that a part is kept under. Bounded: the oldest makes room.

    The lock makes "compare and keep" one step: of two threads that see parts at the same moment
    the older part does not stay. Reads take no lock.
    """

    def __init__(self, life: float) -> None:
        """Keep each for ``life`` seconds: longer than anything from before it may be served."""
        super().__init__()
        # Of an id there may be two parts.
        self._parts: Expiring[Part] = Expiring(life, limit=2 * _IDS)
        self._heard: Expiring[int] = Expiring(life, limit=_IDS)
        # Apart: made-up ids push out none of these.
        self._everything: Part | None = None
        self._everything_heard = 0

    def of(self, key: str) -> Part | None:
        """Return the newest part seen at a key."""
        return self._everything if key == EVERYTHING else self._parts.get(key)

    def at(self, key: str) -> int:
        """Return when the newest part seen at a key was made; 0: none was seen."""
        part = self.of(key)
        return 0 if part is None else part.at

    def heard(self, key: str) -> int:
        """Return the moment before which nothing at a key counts, as told; 0: nothing was told."""
        return self._everything_heard if key == EVERYTHING else self._heard.get(key) or 0

    def is_newest(self, keys: Keys, moments: tuple[int, int, int]) -> bool:
        """Tell whether nothing newer is known than the parts at ``keys`` made at these ``moments``.

        They are in Unix milliseconds; 0: there is no such part. Each hit asks, so this looks at no
        clock: what is too old to be kept may still count here, and then the parts are checked in
        full.
        """
        everything, own, expiry = moments
        parts, heard = self._parts.items, self._heard.items
        newest_own, newest_expiry = parts.get(keys.own), parts.get(keys.expiry)
        return (
            everything >= self._everything_heard
            and (self._everything is None or everything >= self._everything.at)
            and (newest_own is None or own >= newest_own[1].at)
            and (newest_expiry is None or expiry >= newest_expiry[1].at)
            # What was heard of may be a change of either part.
            and (not heard or max(own, expiry) >= heard.get(keys.own, _NEVER)[1])
        )

    def see(self, key: str, part: Part) -> None:
        """Keep a part that was read or written, unless a newer one is known."""
        if part.at <= self.at(key):  # nearly always
            return
        with self._lock:
            if part.at <= self.at(key):
                return
            if key == EVERYTHING:
                self._everything = part
            else:
                self._parts.put(key, part)

    def hear(self, key: str, at: int) -> None:
        """Note that what is at a key changed after the moment ``at``, in Unix milliseconds."""
        with self._lock:
            if at <= self.heard(key):
                return
            if key == EVERYTHING:
                self._everything_heard = at
            else:
                self._heard.put(key, at)
