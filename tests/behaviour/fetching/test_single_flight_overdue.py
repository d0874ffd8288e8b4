"""SingleFlight that do not land by their deadline: a backend may ignore that."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from instance_lookup import ConfigServiceUnavailable, InstanceResolver, Source
from instance_lookup.concurrency.single_flight import SingleFlight
from instance_lookup.concurrency.threads import DaemonPool
from tests.outages.outages import lines
from tests.support.insides import on_board
from tests.support.lookups import Service, acme, asks
from tests.support.monotonic import Monotonic
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.backends.base import Document, NotModified, Query

LONGEST = 30
DUMMY = "django.core.cache.backends.dummy.DummyCache"


@pytest.fixture
def told() -> list[str]:
    """The keys that were reported as overdue."""
    return []


@pytest.fixture
def flights(told: list[str]) -> SingleFlight[Any]:
    pool = DaemonPool("test-flights", 4, waiting=4)
    return SingleFlight(pool, longest=LONGEST, overdue=told.append)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Monotonic:
    clock = Monotonic()
    monkeypatch.setattr("instance_lookup.concurrency.single_flight.monotonic", clock)
    return clock


@pytest.mark.parametrize(("passed", "is_overdue"), [(LONGEST, False), (LONGEST + 0.1, True)])
def test_overdue_flight_is_replaced(
    flights: SingleFlight[Any], told: list[str], clock: Monotonic, passed: float, is_overdue: bool
) -> None:
    """A caller does not join a fetch whose backend has missed its deadline."""
    release = Event()
    stuck = flights.join("acme", lambda: release.wait(5) and "stuck")
    wait_until(lambda: stuck.has_begun)
    clock.now += passed
    second = flights.join("acme", lambda: "second")
    assert (second is not stuck, told) == (is_overdue, ["acme"] * is_overdue)
    release.set()
    assert second.future.result(5) == ("second" if is_overdue else "stuck")
    assert stuck.future.result(5) == "stuck"


def test_flight_that_waits_for_its_turn_is_no_overdue_call(
    flights: SingleFlight[Any], told: list[str], clock: Monotonic
) -> None:
    """No backend was asked yet, so none is to blame: one user's queue says nothing of it."""
    release = Event()
    first = flights.join("acme", lambda: release.wait(5), lane="olga", width=1)
    waiting = flights.join("beta", bool, lane="olga", width=1)
    clock.now += LONGEST + 1
    assert flights.join("beta", bool, lane="olga", width=1) is not waiting
    release.set()
    assert first.future.result(5)
    assert told == []


def test_overdue_flight_is_told_of_once(
    flights: SingleFlight[Any], told: list[str], clock: Monotonic
) -> None:
    """An overdue flight is reported once; all later callers join its successor."""
    release = Event()
    stuck = flights.join("acme", lambda: release.wait(5))
    wait_until(lambda: stuck.has_begun)
    clock.now += LONGEST + 1
    with ThreadPoolExecutor(20) as threads:
        joined = list(threads.map(lambda _: flights.join("acme", release.wait), range(100)))
    release.set()
    assert told == ["acme"]
    assert len({id(flight) for flight in joined}) == 1


def test_overdue_flight_that_lands_leaves_its_successor(
    flights: SingleFlight[Any], clock: Monotonic
) -> None:
    """An overdue flight that lands leaves its successor, so that no third one begins."""
    late, release = Event(), Event()
    stuck = flights.join("acme", lambda: late.wait(5))
    clock.now += LONGEST + 1
    second = flights.join("acme", lambda: release.wait(5))
    late.set()
    assert stuck.future.result(5) is True
    assert flights.join("acme", lambda: "third") is second
    release.set()
    assert second.future.result(5) is True


class Stuck(Service):
    """A service whose backend hangs, past its deadline, until ``release``."""

    def __init__(self) -> None:
        super().__init__()
        self.release = Event()
        self.hangs = True

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        answer = super().get_instance(instance_id, query)
        if self.hangs:
            self.release.wait(60)
        return answer


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    """A resolver without a cache, so that the stuck call holds no lease."""
    service = Stuck()
    with override_settings(CACHES={"default": {"BACKEND": DUMMY}}):
        yield service
    service.release.set()


def test_backend_that_overruns_its_deadline_opens_the_breaker(
    stuck: Stuck, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend past its deadline counts as failed and opens the breaker, with one log line."""
    # Time enough to reach the backend on a busy machine: else nothing of it would be overdue.
    timeout = 1
    monkeypatch.setattr("instance_lookup.fetching.flights._LANDING", 0.1)
    resolver = InstanceResolver(
        config_service_backend=stuck, config_service_timeout=timeout, breaker_failures=3
    )
    for name in ("a", "b", "c"):
        stuck.instances[name] = acme(name, instance_id=name)
        with within(timeout), pytest.raises(ConfigServiceUnavailable):
            resolver.resolve(asks(instance_id=name))
        wait_until(lambda: overdue(resolver))
        with within(timeout), pytest.raises(ConfigServiceUnavailable):  # which finds that out
            resolver.resolve(asks(instance_id=name))
        wait_until(lambda: overdue(resolver))
    with pytest.raises(ConfigServiceUnavailable) as caught:
        resolver.resolve(asks(instance_id="other"))
    assert caught.value.details["reason"] == "circuit_open"
    assert len(lines(caplog)) == 1
    assert "overruns CONFIG_SERVICE_TIMEOUT" in lines(caplog)[0]


def test_backend_that_is_well_again_is_asked_though_a_call_is_stuck(stuck: Stuck) -> None:
    """The id is not unavailable until that call returns, which may be never."""
    resolver = InstanceResolver(config_service_backend=stuck, config_service_timeout=1)
    with pytest.raises(ConfigServiceUnavailable):
        resolver.resolve(asks())
    stuck.hangs = False
    wait_until(lambda: overdue(resolver))
    with within(1):
        assert resolver.resolve(asks()).source is Source.SERVICE


def overdue(resolver: InstanceResolver) -> bool:
    """Tell whether no flight is left to join."""
    flights = resolver._load_config._flights.single
    now = monotonic()
    return all(now > flight.began + flights._longest for flight in on_board(flights))
