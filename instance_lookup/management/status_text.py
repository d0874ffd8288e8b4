"""The status of the site on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance_lookup.management.table import duration
from instance_lookup.outcomes import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.operations.condition import (
        CacheCondition,
        ServiceCondition,
        StreamCondition,
        SubscriptionCondition,
    )
    from instance_lookup.operations.reports import Processes
    from instance_lookup.operations.status import Status

_UNKNOWN = "not known"
_BEHIND = 18
"""Column of the values."""


def lines_of(status: Status) -> Iterator[str]:
    """Yield the lines that show a status: the state, what is wrong, and one for each thing."""
    is_known = status.service.up is not None or status.why
    yield status.state if is_known else "no trouble is known"
    for why in status.why:
        yield f"  {printable(why)}"
    shown = {
        "Config Service": _service(status.service, status.at),
        "Cache": _cache(status.cache, status.at),
        "Subscription": _subscription(status.subscription, status.at),
        "Stream": _stream(status.stream, status.at),
        "Lookups": _lookups(status),
        "Rejected": _rejected(status.counters.get("rejected", 0)),
        "Calls a minute": _number(status.calls_a_minute),
        "Stale copies": _runway(status),
    }
    for name, value in shown.items():
        yield f"{name:{_BEHIND}}{printable(value)}"
    if errors := {each for each in (status.service.last_error, status.cache.last_error) if each}:
        yield from (f"Last error: {printable(error)}" for error in sorted(errors))
    yield from _processes(status.processes)


def _service(service: ServiceCondition, now: float) -> str:
    if service.up is None:
        return _UNKNOWN
    parts = ["up"]
    if not service.up:
        parts = [f"failing ({service.reason}) for {_since(service.failing_since, now)}"]
    if service.failing_documents:
        parts.append(f"no usable answer for {service.failing_documents} documents")
    if service.breaker != "closed":
        parts.append(f"breaker {service.breaker.replace('_', ' ')}")
    if service.next_try_in:
        parts.append(f"next try in {duration(service.next_try_in)}")
    return ", ".join(parts)


def _cache(cache: CacheCondition, now: float) -> str:
    if cache.up and cache.writable:
        return "up"
    state = "can be read, not written," if cache.up else "down"
    skipped = f", next try in {duration(cache.skipped_for)}" if cache.skipped_for else ""
    return f"{state} for {_since(cache.failing_since, now)}{skipped}"


def _subscription(subscription: SubscriptionCondition, now: float) -> str:
    said = subscription.state.replace("_", " ")
    if subscription.deaf_since is not None:
        said += f" for {_since(subscription.deaf_since, now)}"
    return said if subscription.can_publish else f"{said}, cannot publish"


def _stream(stream: StreamCondition, now: float) -> str:
    said = stream.state.replace("_", " ")
    return said if stream.lost_since is None else f"{said} for {_since(stream.lost_since, now)}"


def _lookups(status: Status) -> str:
    if (ratio := status.hit_ratio) is None:
        return "none"
    stale = status.counters.get("stale_hits", 0)
    return f"{ratio:.1%} from the cache, {stale} from stale copies"


def _rejected(count: int) -> str:
    return f"{count} answers or cache entries that cannot be used" if count else "none"


def _number(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:g}"


def _runway(status: Status) -> str:
    runway, processes = status.runway, status.processes
    if runway is None or runway.first is None:
        return "none" if processes is not None and processes.reported else _UNKNOWN
    return (
        f"{runway.count}: the first runs out in {duration(runway.first)}, half of them in"
        f" {duration(runway.median or 0.0)}, the last in {duration(runway.last or 0.0)}"
    )


def _processes(processes: Processes | None) -> Iterator[str]:
    if processes is None:
        return
    yield f"{'Processes':{_BEHIND}}{processes.reported} reported"
    for each in processes.differing:
        yield printable(f"  {each.process}: {each.what} is {each.is_!r}, {each.others!r} elsewhere")


def _since(began: float | None, now: float) -> str:
    return duration(max(0.0, now - (now if began is None else began)))
