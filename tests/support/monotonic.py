"""The monotonic clock of what a resolver keeps in its process, to be set by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instance_lookup import InstanceResolver


def parts_of(cache: Any) -> tuple[Any, ...]:
    """Return what a cache looks at the clock for, but for its near tier."""
    buffer, epochs = cache._buffer, cache._epochs
    return cache.health.breaker, buffer._answers, buffer._gone, epochs._changes


class Monotonic:
    """A clock that moves when it is told to.

    With a resolver: of its breakers, its refusals, what users were told, the ids that rest, and
    what it knows while the cache is down. What was noted before by the real clock is noted no more.
    """

    def __init__(self, resolver: InstanceResolver | None = None) -> None:
        self.now = 1_000.0
        if resolver is not None:
            for loader in (resolver._load_config, resolver._load_project):
                self._rule(loader)

    def __call__(self) -> float:
        return self.now

    def _rule(self, loader: Any) -> None:
        fetcher, kept = loader._fetcher, parts_of(loader._cache)
        refusals = loader._refusals
        kept += (refusals._refused, refusals._untold)
        for part in (fetcher.service_health.breaker, fetcher._resting, *kept):
            assert hasattr(part, "_clock")
            part._clock = self
        if (told := getattr(loader, "_told", None)) is not None:  # where denials are concealed
            told._clock = self
