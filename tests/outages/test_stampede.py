"""Any number of callers of one absent id, and one call to the service."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from django.core.cache import caches

from instance_lookup import InstanceResolver, LookupResult, Source
from instance_lookup.cache.keys import lease_key
from instance_lookup.cache.kinds import instance_kind
from instance_lookup.types import InstanceConfig
from tests.outages.crowds import (
    CROWDS,
    GOOD,
    LONG,
    SHARED_CACHES,
    resolver_on,
    shared_cache,
    waiting,
    when,
)
from tests.outages.fleet import Caller, caller
from tests.support.lookups import asks
from tests.support.servers import Answer, ScriptedServer, mute
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from instance_lookup import LookupContext
    from tests.outages.crowds import Told

    Crowd = Callable[[InstanceResolver, Sequence[LookupContext]], list[Told]]

PROCESSES = 6


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(GOOD) as server:
        yield server


@pytest.fixture(params=SHARED_CACHES)
def alias(request: pytest.FixtureRequest) -> Iterator[str]:
    with shared_cache(request.param, request) as alias:
        yield alias


@pytest.mark.parametrize("callers", [10, 100, 1000])
@pytest.mark.parametrize("crowd", CROWDS)
def test_absent_id_costs_one_call(
    server: ScriptedServer, alias: str, crowd: Crowd, callers: int
) -> None:
    """Callers that find nothing while a fetch is under way wait for that fetch."""
    with resolver_on(server, alias) as resolver:
        server.answers = when(waiting(resolver, callers), GOOD)
        told = crowd(resolver, [asks()] * callers)
    assert [type(answer) for answer in told] == [LookupResult] * callers
    assert len(server.received) == 1


def stale(server: ScriptedServer, resolver: InstanceResolver) -> None:
    """Leave a copy in the cache that is stale, but may be served for an hour."""
    resolver.resolve(asks())
    config = resolver.cache.get("acme")
    assert config is not None
    resolver.cache.set("acme", config.config, ttl=0.001)
    wait_until(lambda: not resolver.cache.has("acme"))
    server.received.clear()


def sources(told: Sequence[Told]) -> set[object]:
    return {getattr(answer, "source", answer) for answer in told}


@pytest.mark.parametrize("crowd", CROWDS)
def test_stale_copy_waits_for_no_lease(server: ScriptedServer, alias: str, crowd: Crowd) -> None:
    """Callers with a stale copy do not wait for another process's fetch."""
    with resolver_on(server, alias, soft_timeout=LONG) as resolver:
        stale(server, resolver)
        under = resolver.cache.tiers.shared.read("acme").generation
        assert under is not None
        caches[alias].add(lease_key(instance_kind(InstanceConfig), "acme", under), "taken", 60)
        began = monotonic()
        told = crowd(resolver, [asks()] * 100)
    assert sources(told) == {Source.STALE_CACHE}
    assert monotonic() - began < LONG / 2
    assert server.received == []


@pytest.mark.parametrize("crowd", CROWDS)
def test_stale_copy_waits_softly_for_a_fetch_of_its_own_process(
    server: ScriptedServer, alias: str, crowd: Crowd
) -> None:
    """There is one call, and no caller waits for it longer than the soft timeout."""
    with resolver_on(server, alias, soft_timeout=0.3) as resolver:
        stale(server, resolver)
        server.answers = mute()
        began = monotonic()
        told = crowd(resolver, [asks()] * 100)
        assert monotonic() - began < LONG / 2
        wait_until(lambda: server.received)  # the call may set off after they were answered
        # Counted here: to end, the server breaks the connection, which is tried once more.
        calls = len(server.received)
        server.stop()
    assert sources(told) == {Source.STALE_CACHE}
    assert calls == 1


@pytest.fixture
def fleet(
    server: ScriptedServer, request: pytest.FixtureRequest
) -> Iterator[Callable[[float], list[Caller]]]:
    """Six processes with four callers each, on one Redis, that were told to go."""
    with ExitStack() as stack:
        alias = stack.enter_context(shared_cache("django-redis", request))

        def started(timeout: float) -> list[Caller]:
            options = {"config_service_url": server.url, "config_service_timeout": timeout}
            processes = [
                stack.enter_context(
                    caller(f"process-{number}", alias=alias, users=["olga"] * 4, **options)
                )
                for number in range(PROCESSES)
            ]
            assert [process.hears() for process in processes] == ["ready"] * PROCESSES
            for process in processes:
                process.go()
            return processes

        yield started


@pytest.mark.extras
def test_fleet_makes_one_call(
    server: ScriptedServer, fleet: Callable[[float], list[Caller]]
) -> None:
    """Twenty-four callers in six processes share one call that is quick enough."""
    everybody_waits = threading.Event()
    server.answers = when(everybody_waits.is_set, GOOD)
    processes = fleet(LONG)
    assert [process.hears() for process in processes] == ["missed"] * PROCESSES
    everybody_waits.set()
    told = [answer for process in processes for answer in process.answers()]
    assert len(told) == 4 * PROCESSES
    assert set(told) <= {"cache", "service"}
    assert len(server.received) == 1


@pytest.mark.full
@pytest.mark.extras
def test_fleet_makes_one_call_a_process_when_the_service_is_slow(
    server: ScriptedServer, fleet: Callable[[float], list[Caller]]
) -> None:
    """When the call is slow each process makes its own half way: the first may be dead."""

    def everybody_asked() -> bool:
        return len(server.received) >= PROCESSES

    server.answers = when(everybody_asked, Answer(200, GOOD.body, delay=0.2))
    told = [[process.hears(), process.answers()] for process in fleet(6.0)]
    assert all(
        heard == "missed" and set(answers) <= {"cache", "service"} for heard, answers in told
    )
    asked = sorted(request.headers["X-Request-ID"] for request in server.received)
    assert asked == [f"process-{number}" for number in range(PROCESSES)]
