"""What a look into the cache of all processes finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from msgspec import Struct

from instance_lookup.cache.entry import Entry, Generation

D = TypeVar("D", bound=Struct)


class Reading(Struct, Generic[D], frozen=True):
    """What one look into the cache found."""

    generation: Generation | None
    """The generation to store a new entry under; ``None``: unknown, so nothing may be stored."""
    entry: Entry[D] | None
    since: int = 0
    """The last change that the process itself knew of, before the look."""
    unminted: bool = False
    """Whether ``generation`` is only for comparison: a fetch has to read with ``mint`` first."""
    blocked_until: float = 0.0
    """Unix time; until then no user gets it, and nothing may be stored. 0: it is not blocked."""


@dataclass(frozen=True, slots=True)
class Peek(Generic[D]):
    """What a look that leaves no trace found: nothing minted, counted or deleted."""

    stored: object = field(repr=False)
    """The entry's value as the backend gave it; ``None``: there is none, or it cannot be read."""
    entry: Entry[D] | None
    """What a lookup would make of it."""
    unreadable: bool = False
    blocked_until: float = 0.0
    """Unix time; 0: it is not blocked."""
    generation: Generation | None = None
    """What is stored under now; ``None``: unknown."""
