"""How the site is doing: what the health endpoint, the admin's head line and the command show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from instance_lookup.operations.condition import (
    CacheCondition,
    Condition,
    ServiceCondition,
    State,
    SubscriptionCondition,
    condition_of,
)
from instance_lookup.operations.reporter import reporter
from instance_lookup.operations.reports import Processes, Runway  # noqa: TC001  # for msgspec
from instance_lookup.registry import get_resolver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from instance_lookup.operations.reports import Fleet, Summary
    from instance_lookup.resolver import InstanceResolver


class Status(Condition, frozen=True, kw_only=True):
    """How this process is doing, or, with the reports of the fleet, all of them together."""

    processes: Processes | None = None
    """``None``: what processes report is not known here."""
    calls_a_minute: float | None = None
    """Calls of the Config Service, by all processes; ``None``: as above, or none reports."""
    runway: Runway | None = None
    """The stale copies that lookups are answered from; ``None`` as above."""
    reports_at: float | None = None
    """Unix time at which the reports were read."""

    def as_dict(self, *, public: bool = False) -> dict[str, Any]:
        """Return the values for JSON; if ``public``, without what may name an instance or host."""
        status = self
        if public:
            processes = self.processes and replace(self.processes, differing=())
            status = replace(
                self,
                service=replace(self.service, last_error=None),
                cache=replace(self.cache, last_error=None),
                processes=processes,
            )
        values: dict[str, Any] = msgspec.to_builtins(status)
        ratio = self.hit_ratio
        return values | {"hit_ratio": None if ratio is None else round(ratio, 4)}


def get_status(resolver: InstanceResolver | None = None, fleet: Fleet | None = None) -> Status:
    """Return how the site is doing.

    Without ``fleet``: how this process is doing, as far as the lookups of ``resolver`` (``None``:
    the one of the settings) found out. That takes no I/O, and so a moment while everything is down.
    Where this process reports, it has looked at what all report within the last minutes.

    With ``fleet``, which ``read_reports`` returns: how all processes are doing together. Where none
    has reported, it is what this process knows, with what the look at the reports found out.
    """
    own = condition_of(resolver or get_resolver())
    if fleet is None:
        return Status(**_fields(own), **_known(reporter.summary))
    conditions = [beat.condition for beat in fleet.processes] or [own]
    together = _together(conditions)
    if fleet.failure is not None:  # then an empty fleet means nothing
        return Status(**_fields(_without_cache(together, fleet.failure)))
    return Status(**_fields(together), **_known(fleet.summary))


def _known(summary: Summary | None) -> dict[str, Any]:
    """Return the fields of a status that come from the reports."""
    return {} if summary is None else msgspec.structs.asdict(summary)


def _fields(condition: Condition) -> dict[str, Any]:
    return {name: getattr(condition, name) for name in Condition.__struct_fields__}


def _without_cache(condition: Condition, failure: str) -> Condition:
    """Return the condition of a process that has just found out that the cache is down."""
    is_unhealthy = condition.state is State.UNHEALTHY or condition.service.up is False
    return replace(
        condition,
        state=State.UNHEALTHY if is_unhealthy else State.DEGRADED,
        why=tuple(dict.fromkeys([*condition.why, "The cache cannot be read."])),
        cache=replace(
            condition.cache,
            up=False,
            failing_since=condition.cache.failing_since or condition.at,
            failed_at=condition.at,
            last_error=failure,
        ),
    )


def _together(conditions: list[Condition]) -> Condition:
    """Return one condition for several processes: what is worst of each."""
    states = {each.state for each in conditions}
    state = states.pop() if len(states) == 1 else State.DEGRADED
    services = [each.service for each in conditions]
    caches = [each.cache for each in conditions]
    heard = [each.subscription for each in conditions]
    counters: dict[str, int] = {}
    for each in conditions:
        for name, count in each.counters.items():
            counters[name] = counters.get(name, 0) + count
    return Condition(
        state=state,
        why=tuple(dict.fromkeys(why for each in conditions for why in each.why)),
        at=max(each.at for each in conditions),
        service=_service(services),
        cache=_cache(caches),
        subscription=_subscription(heard),
        stream=max(
            (each.stream for each in conditions), key=lambda each: _STREAM.index(each.state)
        ),
        counters=counters,
    )


def _service(services: list[ServiceCondition]) -> ServiceCondition:
    failing = [each for each in services if each.up is False]
    asked = [each for each in services if each.up is not None]
    latest = max(failing or asked or services, key=lambda each: each.failed_at or 0.0)
    return replace(
        latest,
        answered_at=max((each.answered_at or 0.0 for each in asked), default=0.0) or None,
        failing_since=_earliest(failing, lambda each: each.failing_since),
        failing_documents=max(each.failing_documents for each in services),
        breaker=max((each.breaker for each in services), key=_BREAKER.index),
        next_try_in=min(each.next_try_in for each in failing or services),
    )


def _cache(caches: list[CacheCondition]) -> CacheCondition:
    failing = [each for each in caches if not each.up] or [
        each for each in caches if not each.writable
    ]
    latest = max(failing or caches, key=lambda each: each.failed_at or 0.0)
    return replace(latest, failing_since=_earliest(failing, lambda each: each.failing_since))


def _subscription(heard: list[SubscriptionCondition]) -> SubscriptionCondition:
    return SubscriptionCondition(
        state=max((each.state for each in heard), key=_SUBSCRIPTION.index),
        deaf_since=_earliest(heard, lambda each: each.deaf_since),
        can_publish=all(each.can_publish for each in heard),
    )


def _earliest(parts: Iterable[Any], when: Callable[[Any], float | None]) -> float | None:
    return min((at for each in parts if (at := when(each)) is not None), default=None)


_BREAKER = ("closed", "half_open", "open")
_STREAM = ("not_used", "waiting", "starting", "lost", "connected")
"""From the least said to the most: of all processes one listens."""
_SUBSCRIPTION = ("not_used", "heard", "starting", "deaf")
"""From good to bad; ``deaf`` where one process is."""
