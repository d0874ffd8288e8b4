"""What metrics need to know of this process beside the events. No I/O.

Of the resolvers that ``get_resolver`` has returned; nearly always there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from msgspec import Struct

from instance_lookup.cache.pubsub import channels
from instance_lookup.concurrency.forks import Guarded
from instance_lookup.registry import live_resolvers
from instance_lookup.resilience.breaker import State

if TYPE_CHECKING:
    from instance_lookup.cache.stats import Counters


class Gauges(Struct, frozen=True):
    """This process as it is now."""

    breaker_state: int
    """Of the Config Service: a ``State`` of the circuit breaker, the worst of them."""
    subscription_up: int
    """0 where it listens to invalidations and cannot be sure to hear them, else 1."""
    near_entries: int
    """Entries in its near cache, of both kinds."""
    flights: int
    """Fetches under way."""


def gauges() -> Gauges:
    """Return the gauges of this process."""
    resolvers = live_resolvers()
    return Gauges(
        breaker_state=max(
            (each.service_health.breaker.state for each in resolvers), default=State.CLOSED
        ),
        subscription_up=int(not any(channel.is_deaf for channel in channels())),
        near_entries=sum(
            len(tiers.near) for each in resolvers for tiers in (each.cache.tiers, each.projects)
        ),
        flights=sum(loader.flights for each in resolvers for loader in each.loaders),
    )


class NearHits(Guarded):
    """Near hits since they were last taken: they are counted, and no events.

    The lock makes "read" and "remember what was read" one step: of threads that come together each
    takes what the others have not.
    """

    def take(self) -> int:
        """Return how many there were in this process since the last call."""
        hits = 0
        with self._lock:
            for counters, now in _read():
                before = self._taken.get(counters, 0)
                hits += now - before if now >= before else now  # less: ``reset_stats`` was called
                self._taken[counters] = now
        return hits

    def _start_over(self) -> None:
        super()._start_over()
        # What a parent has counted it takes itself, though its child has the numbers, too.
        self._taken: WeakKeyDictionary[Counters, int] = WeakKeyDictionary(_read())


def _read() -> list[tuple[Counters, int]]:
    found = (each.cache.counters for each in live_resolvers())
    return [(counters, counters.read().near_hits) for counters in found]
