"""The monotonic clock of what a process keeps for a while, to be set by hand."""

from __future__ import annotations

from typing import Any


class Monotonic:
    """A clock that moves when it is told to.

    It rules every part of the ``ruled`` that looks at a clock: of a resolver its breakers, budgets
    and refusals, what users were told, the ids that rest, and what it knows while the cache is
    down. What was noted before by the real clock is noted no more.
    """

    def __init__(self, *ruled: object) -> None:
        self.now = 1_000.0
        for part in clocked(*ruled):
            part._clock = self

    def __call__(self) -> float:
        return self.now


def clocked(*things: object) -> list[Any]:
    """Return what looks at the monotonic clock, however deep it is in ``things`` of the package."""
    found: list[Any] = []
    seen: set[int] = set()
    left: list[Any] = [*things]
    while left:
        thing = left.pop()
        if id(thing) not in seen and type(thing).__module__.startswith("instance_lookup."):
            seen.add(id(thing))
            fields = getattr(thing, "__dict__", {})
            found += [thing] if "_clock" in fields else []
            left += fields.values()
    assert found or not things
    return found
