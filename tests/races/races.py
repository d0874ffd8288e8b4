"""What tests of races share: lookups that can be interrupted at named points, and ways to fetch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Condition, Event, Lock, current_thread
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from django.db import connections

from instance_lookup import InstanceLookupError, InstanceResolver
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.cache.keyvalue import key_values
from tests.support.insides import has_landed
from tests.support.lookups import Clock, acme, asks
from tests.support.stores import ENTRY
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from instance_lookup.backends.base import Document, NotModified, Query

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

POINTS = (
    "before the generation read",
    "after the generation read",
    "before the fetch",
    "after the fetch",
    "before the store",
    "in the store",
    "after the store",
)
"""Of every way to fetch. "In" it the entry is set, and its generation not yet touched."""
_BEFORE_AN_ANSWER = POINTS[:3]
_FLIGHT = "instance-lookup-flight"


class Points(DictConfigService):
    """A service whose ``interrupt(resolver, point, act)`` has a lookup stopped once for ``act``."""

    def __init__(self) -> None:
        super().__init__({"acme": acme("first")})
        self._point = ""
        self._act: Callable[[], object] = bool
        self._lock = Lock()
        self.on: Callable[[str], object] = self.pass_by
        """Called with the name of each point that a thread passes."""
        self.errors: list[BaseException] = []
        """Of acts: a lookup would take them for the service's or the cache's."""
        self.reached = Event()
        self.gate = Event()
        self.gate.set()

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        """Answer; a user, where the gate is closed, once it is open."""
        self.on("before the fetch")
        try:
            return super().get_instance(instance_id, query)
        finally:
            if query.user_id == "olga":
                self.reached.set()
                if not self.gate.wait(10):
                    self.errors.append(TimeoutError("nobody opened the gate"))
            self.on("after the fetch")

    def interrupt(self, resolver: InstanceResolver, point: str, act: Callable[[], object]) -> None:
        """Have ``act`` done when a lookup of ``resolver`` next comes to the point."""
        self._point, self._act = point, act
        tiers: Any = resolver.cache.tiers
        for owner, verb in (
            (tiers.shared, "read"),
            (tiers.shared, "write"),
            (tiers.shared, "write_missing"),
            (tiers, "_keep"),
        ):
            place = "generation read" if verb == "read" else "store"
            setattr(owner, verb, self._around(getattr(type(owner), verb).__get__(owner), place))

    def watch(self, monkeypatch: pytest.MonkeyPatch, alias: str) -> None:
        """Make points of each setting of a key in the cache."""
        way: Any = type(key_values[alias])
        plain = way.set

        def call(cache: Any, key: str, *args: Any, **kwargs: Any) -> Any:
            self.on(f"before {key} is set")
            plain(cache, key, *args, **kwargs)
            if key == ENTRY:
                self.on("in the store")

        monkeypatch.setattr(way, "set", call)

    def pass_by(self, point: str) -> None:
        """Do the act of this point, once."""
        with self._lock:
            if point != self._point:
                return
            self._point = ""
        try:
            self._act()
        except BaseException as exc:
            self.errors.append(exc)
            raise
        finally:
            if point in _BEFORE_AN_ANSWER:
                # A caller without a copy waits for the service: open the gate for it.
                self.gate.set()
                self.reached.set()

    @property
    def is_passed(self) -> bool:
        return not self._point

    def _around(self, verb: Callable[..., Any], place: str) -> Callable[..., Any]:
        def call(*args: Any, again: bool = False, **kwargs: Any) -> Any:
            where = place
            if again:
                is_flight = current_thread().name == _FLIGHT
                where = "look under the lease" if is_flight else "second look"
                kwargs["again"] = True
            self.on(f"before the {where}")
            try:
                return verb(*args, **kwargs)
            finally:
                self.on(f"after the {where}")

        return call


class Race:
    """Two processes on one cache, a service, and a clock."""

    def __init__(self, alias: str, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
        self.clock = Clock(monkeypatch)
        self.service = Points()
        self.service.watch(monkeypatch, alias)
        options: dict[str, Any] = {
            "cache_alias": alias,
            "config_service_backend": self.service,
            "breaker_failures": 1000,
            "soft_timeout": 0.02,
            **more,
        }
        self.here, self.there = InstanceResolver(**options), InstanceResolver(**options)

    def settle(self) -> None:
        """Wait for what goes on in the background, and see that the interruption took place."""
        wait_until(lambda: has_landed(self.here) and has_landed(self.there))
        if self.service.errors:
            raise self.service.errors[0]
        assert self.service.is_passed

    def seen(self, resolver: InstanceResolver) -> str:
        """Return the version that a lookup gets, or the name of its error."""
        try:
            return resolver.resolve(asks()).config.r2_bucket
        except InstanceLookupError as exc:
            return type(exc).__name__

    def seen_by_both(self) -> set[str]:
        return {self.seen(self.here), self.seen(self.there)}

    def seen_elsewhere(self, resolver: InstanceResolver) -> str:
        """Return what another caller sees in a thread of its own, while this one is held."""
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(closing, self.seen, resolver).result(timeout=10)


def closing(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call it as a thread that has database connections of its own does."""
    try:
        return function(*args)
    finally:
        connections.close_all()


class Turns:
    """Two threads that take turns, one step each, in an order such as "ABBAAB"."""

    def __init__(self, order: str) -> None:
        self._left = list(order)
        self._busy = ""
        self._changed = Condition()
        self.is_stuck = False

    def take(self, who: str) -> None:
        """End a step, and wait for this thread's next turn."""
        with self._changed:
            self._end(who)
            if not self._changed.wait_for(lambda: self._is_turn(who), 10):
                self.is_stuck = True
                raise TimeoutError(f"{who} waits for {self._left}")
            del self._left[:1]
            self._busy = who

    def leave(self, who: str) -> None:
        """Take no more turns."""
        with self._changed:
            self._left = [other for other in self._left if other != who]
            self._end(who)

    def _is_turn(self, who: str) -> bool:
        return not self._busy and self._left[:1] in ([], [who])

    def _end(self, who: str) -> None:
        if self._busy == who:
            self._busy = ""
        self._changed.notify_all()


def run(race: Race, fetch: Callable[[Race], None], point: str, act: Callable[[Race], None]) -> None:
    """Fetch, with an interruption, until nothing goes on any more."""
    if fetch.__name__ != "foreground":
        assert race.seen(race.here) == "first"
    race.service.interrupt(race.here, point, lambda: act(race))
    fetch(race)
    race.settle()
