"""What all processes reported, read again: a few ``get_many``, no scan, on every backend.

Everything here works while the cache is down: ``Fleet.failure`` says so, and the rest is empty.
"""

from __future__ import annotations

from statistics import median
from time import time
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from instance_lookup.exceptions import CacheError
from instance_lookup.inspection import State
from instance_lookup.operations.index import read_shards
from instance_lookup.operations.stored import (
    MINUTES,
    SHARDS,
    SLOTS,
    Beat,
    Form,
    Minute,
    Minutes,
    Seen,
    beat_key,
    minutes_key,
)
from instance_lookup.types import Source

if TYPE_CHECKING:
    from instance_lookup.cache.errors import CacheErrors
    from instance_lookup.resolver import InstanceResolver

ORDERS = ("id", "age", "purged_in", "seen", "owner", "size")
"""What a list of instances can be ordered by."""


class Runway(Struct, frozen=True):
    """The stale copies that lookups are answered from, and when they run out, in seconds."""

    count: int
    first: float | None = None
    median: float | None = None
    last: float | None = None


class Difference(Struct, frozen=True):
    """A process that is not like most others."""

    process: str
    """``host:pid``."""
    what: str
    """``"service"``, ``"cache"``, ``"subscription"``, ``"settings"`` or ``"version"``."""
    is_: str
    """Its own."""
    others: str
    """That of most processes."""


class Processes(Struct, frozen=True):
    """Which processes have reported within 30 seconds."""

    reported: int
    differing: tuple[Difference, ...] = ()
    """Those that are not like most others, and in what."""


class Summary(Struct, frozen=True, kw_only=True):
    """All reports in a few numbers."""

    processes: Processes
    calls_a_minute: float | None
    """Calls of the Config Service; ``None``: no process reports."""
    runway: Runway
    reports_at: float
    """Unix time of the look at the reports."""


class Page(Struct, frozen=True):
    """Some of the instances that a list has."""

    instances: tuple[Seen, ...]
    total: int
    """How many there are on all pages."""
    number: int
    """Of this page, from 1."""
    pages: int
    """At least 1."""


class Fleet(Struct, frozen=True, kw_only=True):
    """All processes that report, and what they saw."""

    is_on: bool
    """Whether ``REPORT_STATUS`` is on here; else there is nothing but what others report."""
    at: float
    """Unix time of the look."""
    stale_max_age: float
    failure: str | None = None
    """Why the cache cannot be read, in words."""
    processes: tuple[Beat, ...] = ()
    """Those that have reported within 30 seconds."""
    minutes: tuple[Minute, ...] = ()
    """The last hour, the oldest first, one for each minute, all processes together."""
    instances: tuple[Seen, ...] = ()
    """Those that the site has asked for within a week, at most some 10,000."""

    def state_of(self, seen: Seen) -> State:
        """Return what a lookup would make of the copy of an instance."""
        return seen.state(self.at, self.stale_max_age)

    def age_of(self, seen: Seen) -> float | None:
        """Return the seconds since the Config Service was asked for the copy, if there is one."""
        return None if seen.cached_at is None else self.at - seen.cached_at

    def purged_in(self, seen: Seen) -> float | None:
        """Return the seconds for which a copy may still be served when the service fails."""
        if seen.cached_at is None or seen.negative:
            return None
        return max(0.0, seen.cached_at + self.stale_max_age - self.at)

    @property
    def summary(self) -> Summary:
        """All of it in a few numbers."""
        calls = [beat.calls_a_minute for beat in self.processes]
        return Summary(
            processes=Processes(len(self.processes), self.differences),
            calls_a_minute=sum(calls) if calls else None,
            runway=self.runway,
            reports_at=self.at,
        )

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The processes that are not like most others, and in what."""
        told = [(beat.name, _traits(beat)) for beat in self.processes]
        found = []
        for what in told[0][1] if told else ():
            values = [traits[what] for _, traits in told]
            usual = max(sorted({*values}), key=values.count)
            found += [
                Difference(name, what, traits[what], usual)
                for name, traits in told
                if traits[what] != usual
            ]
        return tuple(found)

    @property
    def runway(self) -> Runway:
        """The stale copies that lookups are answered from, and when they run out.

        While the service fails, all that are stale. Else those that the last lookup got.
        """
        fails = any(beat.condition.service.up is False for beat in self.processes)
        left = sorted(
            self.purged_in(seen) or 0.0
            for seen in self.instances
            if self.state_of(seen) is State.STALE and (fails or seen.source == Source.STALE_CACHE)
        )
        if not left:
            return Runway(0)
        return Runway(len(left), *(round(each, 1) for each in (left[0], median(left), left[-1])))

    def find(
        self,
        text: str = "",
        *,
        state: State | None = None,
        tenant: str | None = None,
        order: str = "id",
        reverse: bool = False,
        page: int = 1,
        per_page: int = 50,
    ) -> Page:
        """Return one page of the instances that have ``text`` in their id, name or owner.

        ``state`` and ``tenant`` (its id) leave only those. ``order`` is one of ``ORDERS``, smallest
        first, or last with ``reverse``; what has none comes at the end. ``page`` counts from 1;
        one that is too high is the last. Raises ``ValueError`` for another ``order``.
        """
        if order not in ORDERS:
            raise ValueError(f"{order!r} is no order; choose one of {', '.join(ORDERS)}")
        text = text.casefold()
        found = [
            seen
            for seen in self.instances
            if any(text in (part or "").casefold() for part in (seen.id, seen.name, seen.owner))
            and (tenant is None or seen.tenant_id == tenant)
            and (state is None or self.state_of(seen) is state)
        ]
        values = {seen.id: self._value(seen, order) for seen in found}
        known = [seen for seen in found if values[seen.id] is not None]
        known.sort(key=lambda seen: (values[seen.id], seen.id), reverse=reverse)
        ordered = [*known, *(seen for seen in found if values[seen.id] is None)]
        pages = max(1, -(-len(ordered) // per_page))
        number = min(max(1, page), pages)
        shown = ordered[(number - 1) * per_page : number * per_page]
        return Page(tuple(shown), len(ordered), number, pages)

    def _value(self, seen: Seen, order: str) -> object:
        match order:
            case "age":
                return self.age_of(seen)
            case "purged_in":
                return self.purged_in(seen)
            case _:
                return getattr(seen, order)


def read_reports(resolver: InstanceResolver) -> Fleet:
    """Return what all processes reported to the cache of ``resolver``.

    Where the cache cannot be read ``Fleet.failure`` says so.
    """
    settings, now, form = resolver.settings, time(), Form(resolver.settings)
    errors: CacheErrors = resolver.cache.tiers.shared.errors
    nothing = Fleet(
        is_on=settings.report_status,
        at=now,
        stale_max_age=settings.stale_max_age,
        minutes=_summed([], now),
    )
    try:
        with errors.raised_to("read", None, counted=False) as cache:
            beats = form.read_many(cache, [beat_key(slot) for slot in range(SLOTS)], Beat)
            hours = form.read_many(cache, [minutes_key(slot) for slot in range(SLOTS)], Minutes)
            shards = read_shards(cache, form, range(SHARDS))
    except CacheError as exc:
        return replace(nothing, failure=str(exc))
    seen = [one for shard in shards.values() for one in shard.values()]
    return replace(
        nothing,
        processes=tuple(sorted(filter(None, beats), key=lambda each: (each.host, each.pid))),
        minutes=_summed([*filter(None, hours)], now),
        instances=tuple(sorted(seen, key=lambda each: each.id)),
    )


def _summed(hours: list[Minutes], now: float) -> tuple[Minute, ...]:
    this = int(now // 60)
    total = {minute: Minute(minute=minute) for minute in range(this - MINUTES + 1, this + 1)}
    for hour in hours:
        for each in hour.minutes:
            if (sum_ := total.get(each.minute)) is not None:
                sum_.add(each)
    return tuple(total.values())


def _traits(beat: Beat) -> dict[str, str]:
    service, cache = beat.condition.service, beat.condition.cache
    return {
        "service": f"failing: {service.reason}" if service.up is False else "up",
        "cache": "down" if not cache.up else "up" if cache.writable else "not writable",
        "subscription": beat.condition.subscription.state,
        "settings": beat.settings,
        "version": beat.version,
    }
