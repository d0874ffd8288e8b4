"""What tests of rate limits share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instance_lookup.throttling.limits import Standing
    from instance_lookup.types import RateLimit


class ServerClock:
    """A wall clock, to be set by hand."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def taken(counter: Any, limit: RateLimit, calls: int, *, instance_id: str = "acme") -> int:
    """Make so many calls, and return how many of them were let through."""
    return sum(let_through(counter, limit, instance_id) for _ in range(calls))


def let_through(counter: Any, limit: RateLimit, instance_id: str = "acme") -> bool:
    """Make a call, and tell whether it was let through. It has to be counted."""
    return not standing(counter, limit, instance_id).wait


def standing(counter: Any, limit: RateLimit, instance_id: str = "acme") -> Standing:
    """Make a call, and return how the instance stands after it."""
    found: Standing | None = counter.count("render", instance_id, limit, fail_open=True)
    assert found is not None, "the call was not counted"
    return found
