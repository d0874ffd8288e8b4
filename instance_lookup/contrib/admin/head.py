"""The head of the list: how the site is doing, in a few cards, and the last hour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from django.utils.timezone import localtime

from instance_lookup.contrib.admin.charts import charts, seconds
from instance_lookup.management.table import duration
from instance_lookup.operations.condition import State
from instance_lookup.outcomes import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from instance_lookup.operations.reports import Fleet
    from instance_lookup.operations.status import Status
    from instance_lookup.operations.stored import Minute


class Level(StrEnum):
    """How a card looks."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    IDLE = "idle"
    """Nothing is known, or there is nothing to know."""


MARKS = {Level.GOOD: "✓", Level.WARNING: "!", Level.BAD: "✕", Level.IDLE: "·"}
_STATES = {State.HEALTHY: Level.GOOD, State.DEGRADED: Level.WARNING, State.UNHEALTHY: Level.BAD}


@dataclass(frozen=True, slots=True)
class Card:
    """One thing that operators want to know, and what there is to say about it."""

    title: str
    level: Level
    value: str
    details: tuple[str, ...] = ()

    @property
    def mark(self) -> str:
        """The sign of its level, so that colour is not needed."""
        return MARKS[self.level]


def head_context(status: Status, fleet: Fleet) -> dict[str, Any]:
    """Return what the head shows of the ``status`` of all processes, and of their reports."""
    level, state = _STATES[status.state], status.state.value
    if status.service.up is None and not status.why:  # nothing was looked up yet
        level, state = Level.IDLE, "no trouble is known"
    return {
        "status": status,
        "status_level": level,
        "status_mark": MARKS[level],
        "state": state,
        "cards": [
            _service(status),
            _cache(status),
            _subscription(status),
            _hits(status),
            _runway(status),
            _processes(status, fleet),
        ],
        "reports_are_off": not fleet.is_on and not fleet.processes,
        "charts": charts(fleet.minutes),
        "minutes": [_numbers(each) for each in fleet.minutes if _is_busy(each)],
    }


def _service(status: Status) -> Card:
    service = status.service
    details = []
    if service.failing_since is not None:
        details.append(_since(service.failing_since, status.at))
    if service.breaker != "closed":
        details.append(f"breaker {service.breaker.replace('_', ' ')}")
    if service.next_try_in > 0:
        details.append(f"next try in {duration(service.next_try_in)}")
    if service.failing_documents:
        details.append(f"no usable answer for {service.failing_documents} documents")
    if service.last_error:
        details.append(printable(service.last_error))
    if service.up is None:
        return Card("Config Service", Level.IDLE, "not asked yet", tuple(details))
    if not service.up:
        return Card("Config Service", Level.BAD, f"failing: {service.reason}", tuple(details))
    level = Level.WARNING if service.failing_documents else Level.GOOD
    return Card("Config Service", level, "up", tuple(details))


def _cache(status: Status) -> Card:
    cache = status.cache
    details = []
    if cache.failing_since is not None:
        details.append(_since(cache.failing_since, status.at))
    if cache.skipped_for > 0:
        details.append(f"skipped for {duration(cache.skipped_for)}")
    if cache.last_error:
        details.append(printable(cache.last_error))
    if not cache.up:
        return Card("Cache", Level.BAD, "down", tuple(details))
    if not cache.writable:
        return Card("Cache", Level.BAD, "takes no writes", tuple(details))
    return Card("Cache", Level.GOOD, "up", tuple(details))


def _subscription(status: Status) -> Card:
    heard = status.subscription
    details = []
    if heard.deaf_since is not None:
        details.append(_since(heard.deaf_since, status.at))
    if not heard.can_publish:
        details.append("other processes cannot be told: PUBLISH is refused")
    level = {"heard": Level.GOOD, "deaf": Level.BAD}.get(heard.state, Level.IDLE)
    if not heard.can_publish and level is not Level.BAD:
        level = Level.WARNING
    return Card("Invalidations", level, heard.state.replace("_", " "), tuple(details))


def _hits(status: Status) -> Card:
    ratio = status.hit_ratio
    details = []
    if status.calls_a_minute is not None:
        details.append(f"{status.calls_a_minute:g} calls a minute")
    if ratio is None:
        return Card("Hit ratio", Level.IDLE, "no lookups yet", tuple(details))
    # Which ratio is good depends on the site.
    return Card("Hit ratio", Level.IDLE, f"{ratio:.1%}", tuple(details))


def _runway(status: Status) -> Card:
    runway, processes = status.runway, status.processes
    if runway is None or not runway.count:
        is_known = processes is not None and processes.reported
        said = "no stale copies served" if is_known else "not known"
        return Card("Stale runway", Level.IDLE, said)
    ends = (("first", runway.first), ("median", runway.median), ("last", runway.last))
    details = tuple(f"{name} runs out in {duration(left or 0)}" for name, left in ends)
    many = f"{runway.count} instances" if runway.count > 1 else "1 instance"
    return Card("Stale runway", Level.WARNING, f"{many} on a stale copy", details)


def _processes(status: Status, fleet: Fleet) -> Card:
    reported = status.processes
    if reported is None or not reported.reported:
        value = "none has reported yet" if fleet.is_on else "not reporting"
        if fleet.failure is not None:
            value = "not known"
        return Card("Processes", Level.IDLE, value, ("What is shown is of this process.",))
    differing = tuple(
        f"{printable(each.process)}: {each.what} is {printable(each.is_)}, others"
        f" {printable(each.others)}"
        for each in reported.differing
    )
    level = Level.WARNING if differing else Level.GOOD
    return Card("Processes", level, f"{reported.reported} reported", differing)


def _since(moment: float, now: float) -> str:
    return f"since {clock(moment)} ({duration(max(0.0, now - moment))})"


def clock(moment: float) -> str:
    """Return the time of day of a Unix time, where the admin's user is."""
    return f"{localtime(datetime.fromtimestamp(moment, UTC)):%H:%M}"


def _numbers(minute: Minute) -> Sequence[str]:
    return (
        clock(minute.minute * 60),
        *map(str, (minute.fresh, minute.near, minute.stale, minute.negative, minute.missed)),
        *map(str, (minute.calls, minute.failures)),
        seconds(minute.quantile(0.5)),
        seconds(minute.quantile(0.95)),
    )


def _is_busy(minute: Minute) -> bool:
    return any((minute.fresh, minute.stale, minute.negative, minute.missed, minute.calls))
