"""How one process is doing, from what it knows: no I/O, no probe, nothing that waits."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from time import monotonic, time
from typing import TYPE_CHECKING

from msgspec import Struct

from instance_lookup.push.stream import stream

if TYPE_CHECKING:
    from instance_lookup.resolver import InstanceResolver
    from instance_lookup.types import CacheStats

RECENT = 60.0
"""Seconds. A failure from before that says nothing about now: a process that a load balancer has
taken out gets no request that could find out, so it must not call itself unhealthy for ever."""


class State(StrEnum):
    """How lookups are answered."""

    HEALTHY = "healthy"
    """As they should be."""
    DEGRADED = "degraded"
    """Most of them, but from stale copies, or without the cache, or something else is wrong."""
    UNHEALTHY = "unhealthy"
    """Most of them with 503."""


class ServiceCondition(Struct, frozen=True, kw_only=True):
    """What is known of the Config Service."""

    up: bool | None = None
    """Whether its last answer was usable. ``None``: it was not asked by this process."""
    answered_at: float | None = None
    """Unix time of the last answer of any kind."""
    failing_since: float | None = None
    """Unix time of the first failure after the last answer."""
    failed_at: float | None = None
    """Unix time of the last failure, of whatever document."""
    reason: str | None = None
    """Why it fails, as in ``ConfigServiceUnavailable.details``: ``"timeout"`` …"""
    last_error: str | None = None
    """The line in the log for the last failure of the whole. It may name an instance."""
    failing_documents: int = 0
    """How many documents it has no usable answer for, while it has for others."""
    breaker: str = "closed"
    """``"closed"``, ``"open"`` (it is not asked) or ``"half_open"`` (one call finds out)."""
    next_try_in: float = 0.0
    """Seconds until it is asked again; 0: it may be asked."""


class CacheCondition(Struct, frozen=True, kw_only=True):
    """What is known of the shared cache."""

    up: bool = True
    """False: it cannot be read. Also true where that was not tried."""
    writable: bool = True
    """False: it can be read and takes no values, or no large ones."""
    failing_since: float | None = None
    """Unix time since when it cannot be read or written."""
    failed_at: float | None = None
    """Unix time of the last failure."""
    last_error: str | None = None
    """The line in the log for the last failure to read it. It may name an instance."""
    skipped_for: float = 0.0
    """Seconds for which it is left alone; 0: it is asked."""


class SubscriptionCondition(Struct, frozen=True, kw_only=True):
    """Whether this process hears of the invalidations of other processes."""

    state: str = "not_used"
    """``"heard"``, ``"deaf"``, ``"starting"``, or ``"not_used"``: nothing is kept in memory, or
    nothing was looked up yet."""
    deaf_since: float | None = None
    """Unix time."""
    can_publish: bool = True
    """False: other processes could not be told of the last invalidation."""


class StreamCondition(Struct, frozen=True, kw_only=True):
    """Whether changes at the Config Service are told by its stream. It makes no state worse."""

    state: str = "not_used"
    """``"connected"``, ``"lost"``, ``"starting"``, ``"waiting"``: another process listens, or
    ``"not_used"``: there is no ``CONFIG_SERVICE_STREAM``, or nothing was looked up yet."""
    lost_since: float | None = None
    """Unix time."""


class Condition(Struct, frozen=True, kw_only=True):
    """How one process, or all of them together, are doing."""

    state: State
    why: tuple[str, ...] = ()
    """Each thing that is wrong, in words, with neither ids nor secrets."""
    at: float
    """Unix time at which this was so."""
    service: ServiceCondition = ServiceCondition()
    cache: CacheCondition = CacheCondition()
    subscription: SubscriptionCondition = SubscriptionCondition()
    stream: StreamCondition = StreamCondition()
    counters: dict[str, int] = {}
    """The numbers of ``get_cache_stats()``."""

    @property
    def hit_ratio(self) -> float | None:
        """The share of lookups that were answered from the cache; ``None``: there were none."""
        counts = self.counters
        hits = counts.get("hits", 0) + counts.get("negative_hits", 0)
        lookups = hits + counts.get("misses", 0)
        return hits / lookups if lookups else None


def condition_of(resolver: InstanceResolver) -> Condition:
    """Return how this process is doing, as far as the lookups of ``resolver`` found out."""
    now = time()
    service, cache, subscription = _service(resolver), _cache(resolver), _subscription(resolver)
    settings = resolver.settings
    state, why = judge(
        service,
        cache,
        subscription,
        now=now,
        # Unless it was stored by then, there is no copy that may still be served.
        copies_last=settings.stale_max_age if settings.use_stale_on_error else 0.0,
    )
    return Condition(
        state=state,
        why=why,
        at=now,
        service=service,
        cache=cache,
        subscription=subscription,
        stream=StreamCondition(state=stream.state, lost_since=stream.lost_since),
        counters=counters_of(resolver.get_cache_stats()),
    )


def judge(
    service: ServiceCondition,
    cache: CacheCondition,
    subscription: SubscriptionCondition,
    *,
    now: float,
    copies_last: float,
) -> tuple[State, tuple[str, ...]]:
    """Return what the three conditions mean for lookups, and each thing that is wrong.

    ``now`` is Unix time. ``copies_last`` is how many seconds after the service began to fail the
    last stale copy runs out; 0: none is served.
    """
    why = []
    is_stale = False
    if service.up is False:
        since = now - (service.failing_since or now)
        is_stale = cache.up and since < copies_last
        then = "stale copies are served" if is_stale else "no copies are left to serve"
        why.append(f"The Config Service fails ({service.reason}): {then}.")
    if not cache.up:
        why.append("The cache is down: the Config Service is asked instead.")
    elif not cache.writable:
        why.append("The cache can be read, but not written.")
    if subscription.state == "deaf":
        why.append("Invalidations are not heard: copies in memory are used for 1 s at most.")
    if not subscription.can_publish:
        why.append("Invalidations cannot be published: other processes see them later.")
    is_recent = now - (service.failed_at or 0.0) < RECENT
    if service.up is False and not is_stale and is_recent:
        return State.UNHEALTHY, tuple(why)
    return State.DEGRADED if why else State.HEALTHY, tuple(why)


def counters_of(stats: CacheStats) -> dict[str, int]:
    """Return the numbers by their names."""
    return asdict(stats)


def _service(resolver: InstanceResolver) -> ServiceCondition:
    health = resolver.service_health
    trouble = health.trouble
    reason, since = trouble or (None, None)
    was_asked = health.service.worked_at or health.service.failed_at
    return ServiceCondition(
        up=trouble is None if was_asked else None,
        answered_at=health.service.worked_at or None,
        failing_since=since,
        failed_at=health.service.failed_at or None,
        reason=reason,
        last_error=health.service.last_line if trouble else None,
        failing_documents=health.troubled_documents,
        breaker=health.breaker.state.name.lower(),
        next_try_in=round(health.breaker.wait(), 3),
    )


def _cache(resolver: InstanceResolver) -> CacheCondition:
    health = resolver.cache.tiers.health
    is_down = "" in health.log.failing
    return CacheCondition(
        up=not is_down,
        writable=health.is_writable,
        failing_since=health.failing_since,
        failed_at=health.log.failed_at or None,
        last_error=health.log.last_line if is_down else None,
        skipped_for=round(health.breaker.wait(), 3),
    )


def _subscription(resolver: InstanceResolver) -> SubscriptionCondition:
    channel = resolver.cache.tiers.near.channel
    if channel is None:
        return SubscriptionCondition()
    deaf_since = channel.deaf_since
    state = "starting" if deaf_since is None else "deaf"
    if monotonic() < channel.sure_until:
        state, deaf_since = "heard", None
    return SubscriptionCondition(
        state=state, deaf_since=deaf_since, can_publish=channel.can_publish
    )
