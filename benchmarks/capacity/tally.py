"""What happened in one second of a fleet."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(slots=True)
class Tally:
    """Counts of one second, or of several."""

    requests: int = 0
    near: int = 0
    """Requests that the near cache answered."""
    shared: int = 0
    """Requests that a fresh entry in Redis answered."""
    waited: int = 0
    """Requests that waited for a call of the Config Service, their own or that of another."""
    stale: int = 0
    """Requests that got the stale copy, since another process was fetching."""
    calls: int = 0
    """Calls of the Config Service."""
    joined: int = 0
    """Calls that single flight spared: one for the same instance was under way in the process."""
    followed: int = 0
    """Calls that the lease spared: another process was fetching the same instance."""
    reads: int = 0
    """``MGET`` of an entry with the three parts of its generation."""
    found: int = 0
    """Those of them that brought the entry of an instance, whether it counts or not."""
    blocks: int = 0
    """``MGET`` of the two keys that say whether the instance is blocked."""
    gets: int = 0
    stores: int = 0
    """``SET`` of the entry of an instance."""
    marks: int = 0
    """``SET`` of something short: a lease, a generation, "does not exist"."""
    expires: int = 0
    deletes: int = 0
    publishes: int = 0

    @property
    def commands(self) -> int:
        """The commands that requests, and what they began in the background, sent to Redis."""
        return sum(self.by_kind.values())

    @property
    def by_kind(self) -> dict[str, int]:
        """The commands of Redis, by name."""
        return {
            "MGET": self.reads + self.blocks,
            "SET": self.stores + self.marks,
            "GET": self.gets,
            "EXPIRE": self.expires,
            "DEL": self.deletes,
            "PUBLISH": self.publishes,
        }


_NAMES = [field.name for field in fields(Tally)]


def total(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of some seconds."""
    found = Tally()
    for tally in tallies:
        for name in _NAMES:
            setattr(found, name, getattr(found, name) + getattr(tally, name))
    return found
