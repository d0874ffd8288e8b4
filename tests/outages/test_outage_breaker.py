"""A service that fails is left alone for a while, by all callers together."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

import pytest
from django.test import override_settings

from instance_lookup import (
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceResolver,
    LookupUser,
)
from instance_lookup.concurrency import pools
from tests.outages.outages import Later, healthy
from tests.outages.service_outages import (
    FAILING,
    HTML,
    PATIENT,
    make,
    outcome,
    service,
)
from tests.support.insides import has_landed
from tests.support.lookups import TWINS, Twin, asks, hooked_caches
from tests.support.servers import Answer, Received, Script, ScriptedServer, drip_body, drip_headers
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def _own_cache() -> Iterator[None]:
    with override_settings(CACHES=hooked_caches()):
        yield


@pytest.mark.usefixtures("takes_off_in_time")
@pytest.mark.parametrize("script", FAILING.values(), ids=FAILING)
def test_breaker_opens(script: Script | None) -> None:
    """After BREAKER_FAILURES in a row no lookup calls the service, for any id."""
    with service(script) as client:
        resolver = make(client, breaker_failures=2)
        later = Later(resolver)
        # On a busy machine a call may get no thread in time, and then is not made at all.
        for number in range(20):
            if client.calls == 2:
                break
            later.passed += 60  # what a 503 asked for
            assert outcome(resolver, f"id-{number}") != "circuit_open"
            wait_until(lambda: has_landed(resolver))
        assert [outcome(resolver, name) for name in "abcdef"] == ["circuit_open"] * 6
    assert client.calls == 2


@pytest.mark.parametrize("answer", [Answer(403), Answer(404), HTML], ids=["403", "404", "html"])
def test_breaker_stays_closed(answer: Answer) -> None:
    """Answers about one id or user show that the service is there, and open no breaker."""
    with service(answer) as client:
        resolver = make(client, breaker_failures=2, **PATIENT)
        for name in "abcde":
            with pytest.raises(InstanceLookupError, match=name):
                resolver.resolve(asks(instance_id=name))
    assert client.calls == 5


@pytest.mark.parametrize("twin", TWINS)
def test_breaker_half_open(twin: Twin) -> None:
    """One probe goes through; other callers are refused at once. Its success closes the breaker."""
    with ScriptedServer(Answer(500)) as server:
        resolver = make(server.url, breaker_failures=2, **PATIENT)
        later = Later(resolver)
        for name in ("a", "b"):
            outcome(resolver, name)
        gate = Event()
        server.answers = lambda request: healthy(request) if gate.wait(20) else Answer(500)
        later.passed += 10
        with ThreadPoolExecutor(10) as callers:
            told = [callers.submit(outcome, resolver, f"i{n}", twin) for n in range(10)]
            wait_until(lambda: sum(future.done() for future in told) == 9)
            wait_until(lambda: len(server.received) > 2)
            probes = len(server.received) - 2
            gate.set()
            answers = sorted(future.result() for future in told)
        assert probes == 1
        assert answers == ["circuit_open"] * 9 + ["service"]
        assert outcome(resolver, "a", twin) == "service"


def test_breaker_probe_fails() -> None:
    """A probe that fails opens the breaker for another BREAKER_RESET."""
    with service(Answer(500)) as client:
        resolver = make(client, breaker_failures=2, breaker_reset=10, **PATIENT)
        later = Later(resolver)
        for name in ("a", "b"):
            outcome(resolver, name)
        for calls in (3, 4, 5):
            later.passed += 10
            assert [outcome(resolver, name) for name in "abc"] == ["status", *["circuit_open"] * 2]
            assert client.calls == calls


def test_breaker_closes_by_itself() -> None:
    """On the real clock the breaker closes again without a restart or reset."""
    with ScriptedServer(Answer(500)) as server:
        resolver = make(server.url, breaker_failures=1, breaker_reset=0.2, **PATIENT)
        assert outcome(resolver) == "status"
        server.answers = healthy
        wait_until(lambda: outcome(resolver) == "service")


@pytest.mark.parametrize("twin", TWINS)
def test_retry_after_holds_for_all(twin: Twin) -> None:
    """After two ids a 503's Retry-After holds for all ids in this process, for 60 s at most."""
    with service(Answer(503, headers={"Retry-After": "86400"})) as client:
        resolver = make(client, **PATIENT)
        later = Later(resolver)
        for name in ("a", "a", "b", "c", "d"):
            with pytest.raises(ConfigServiceUnavailable) as caught:
                twin(resolver, "resolve", asks(instance_id=name))
            assert caught.value.retry_after is not None
            assert 50 < caught.value.retry_after <= 60
        assert client.calls == 2
        later.passed += 60
        outcome(resolver, "d")
        assert client.calls == 3


@pytest.mark.parametrize("late", [lambda _: Answer(500), healthy], ids=["failure", "answer"])
def test_retry_after_outlives_who_was_under_way(late: Callable[[Received], Script]) -> None:
    """The answer to an older call does not end a Retry-After."""
    gate = Event()

    def answer(request: Received) -> Script:
        if request.path.endswith("/slow"):
            gate.wait(10)
            return late(request)
        return Answer(503, headers={"Retry-After": "60"})

    with ScriptedServer(answer) as server, ThreadPoolExecutor(1) as callers:
        resolver = make(server.url, config_service_timeout=10)
        slow = callers.submit(outcome, resolver, "slow")
        wait_until(lambda: server.received)
        assert [outcome(resolver, name) for name in "ab"] == ["status"] * 2
        gate.set()
        slow.result()
        assert outcome(resolver, "c") == "circuit_open"
        assert len(server.received) == 3


def fetching() -> int:
    """Return how many threads are there to ask for something, or to wait for an answer."""
    names = ("instance-lookup-flight", "instance-lookup-fetch", "instance-lookup-dns")
    return sum(thread.name.startswith(names) for thread in threading.enumerate())


@contextmanager
def most_fetching() -> Iterator[list[int]]:
    """Yield a list of one number: the highest ``fetching`` of the block, looked up all the time."""
    most, ended = [0], Event()

    def look() -> None:
        while not ended.wait(0.005):
            most[0] = max(most[0], fetching())

    with ThreadPoolExecutor(1) as watchers:
        watcher = watchers.submit(look)
        try:
            yield most
        finally:
            ended.set()
        watcher.result()


def of(name: str) -> LookupUser:
    """Return the user whose instance it is."""
    return LookupUser(f"owner-of-{name}")


def together(resolver: InstanceResolver, twin: Twin) -> list[str]:
    """Return what came of asking for 100 ids at once."""
    names = [f"i{number}" for number in range(100)]
    if not twin.is_async:
        with ThreadPoolExecutor(len(names)) as callers:
            return list(callers.map(lambda name: outcome(resolver, name, user=of(name)), names))

    async def ask(name: str) -> str:
        with pytest.raises(ConfigServiceUnavailable) as caught:
            await resolver.aresolve(asks(of(name), name))
        return str(caught.value.details["reason"])

    async def main() -> list[str]:
        return await asyncio.gather(*map(ask, names))

    return asyncio.run(main())


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("script", [drip_headers(), drip_body()], ids=["headers", "body"])
def test_threads_are_bounded(script: Script, twin: Twin) -> None:
    """A hundred callers of a hundred ids: each answered in time, and every thread gone after it."""
    with ScriptedServer(script) as server:
        resolver = make(server.url, config_service_timeout=1)
        with within(1), most_fetching() as most:
            told = together(resolver, twin)
        wait_until(lambda: not fetching())
    # "full": the call got its thread after half of its time; that is not the service's fault.
    assert set(told) <= {"timeout", "circuit_open", "full"}
    assert len(told) == 100
    assert 0 < most[0] <= pools.FLIGHTS + 4  # calls, and look-ups of the name
