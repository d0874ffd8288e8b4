"""A Config Service that fails, in each of the ways a service fails, on real sockets."""

from __future__ import annotations

import asyncio
import logging
from threading import Event
from typing import TYPE_CHECKING

import pytest
from django.test import override_settings

from instance_lookup import ConfigServiceUnavailable, InstanceResolver, Source
from instance_lookup.access import HasFeature
from tests.outages.outages import Later, config, healthy, lines
from tests.outages.service_outages import (
    FAULTS,
    PATIENT,
    SOFT,
    TIMEOUT,
    make,
    service,
)
from tests.support.doors import CALLERS, Caller
from tests.support.insides import at_rest, has_landed
from tests.support.lookups import TWINS, Clock, Twin, asks, hooked_caches
from tests.support.servers import Answer, Script, ScriptedServer
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

    from instance_lookup import LookupResult

WITHOUT_COPY = 30
"""Seconds, where the service says nothing."""


@pytest.fixture(autouse=True)
def _own_cache() -> Iterator[None]:
    with override_settings(CACHES=hooked_caches()):
        yield


def grow_stale(resolver: InstanceResolver, clock: Clock, *names: str) -> None:
    """Have the cache hold stale copies."""
    resolver.warm_cache(config(name) for name in names or ("acme",))
    clock.now += 300


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("script", FAULTS.values(), ids=FAULTS)
def test_stale_copy_bridges(
    script: Script | None, twin: Twin, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The first lookup waits for the soft timeout at most, later ones do not wait; one log line."""
    with service(script) as client:
        resolver = make(client, config_service_timeout=20)
        grow_stale(resolver, clock)
        with within(SOFT):
            first = twin(resolver, "resolve", asks())
        with within(SOFT):
            others = [twin(resolver, "resolve", asks()) for _ in range(20)]
        wait_until(lambda: client.calls)
    assert {result.source for result in [first, *others]} == {Source.STALE_CACHE}
    assert {result.config.r2_bucket for result in [first, *others]} == {"first"}
    assert client.calls == 1


@pytest.mark.usefixtures("takes_off_in_time")
@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("script", FAULTS.values(), ids=FAULTS)
def test_outage_is_one_line(
    script: Script | None, twin: Twin, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage logs one WARNING, or two where a busy machine makes a timeout of a call."""
    with service(script) as client:
        resolver = make(client)
        for _ in range(3):
            with within(TIMEOUT), pytest.raises(ConfigServiceUnavailable):
                twin(resolver, "resolve", asks())
        wait_until(at_rest)
    told = lines(caplog)
    assert 1 <= len({*told}) == len(told) <= 2
    assert told[0].startswith("The Config Service at http://127.0.0.1:")
    assert max(record.levelno for record in caplog.records) == logging.WARNING


@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize("script", FAULTS.values(), ids=FAULTS)
def test_stale_copy_is_a_page(
    script: Script | None,
    is_async: bool,
    settings: Settings,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Visitors get the page of a stale copy; without one they get 503 with Retry-After."""
    path = "aplain" if is_async else "plain"
    with service(script) as client:
        settings.INSTANCE_LOOKUP = {
            "CONFIG_SERVICE_BACKEND": client,
            "CONFIG_SERVICE_TIMEOUT": TIMEOUT,
            "SOFT_TIMEOUT": SOFT,
            "ALLOW_ANONYMOUS": True,
            "ACCESS_POLICY": HasFeature("open"),
        }
        grow_stale(InstanceResolver(), clock)
        caller = Caller(is_async=is_async)
        with within(SOFT):
            pages = [caller(path, "acme") for _ in range(5)]
        refused = caller(path, "unknown")
    assert [(page.status_code, page.content) for page in pages] == [(200, b"acme")] * 5
    assert client.calls <= 2
    assert refused.status_code == 503
    asked_for = {"503": 7, "429": 60}
    named = next(name for name, fault in FAULTS.items() if fault is script)
    assert 0 < int(refused.headers["Retry-After"]) <= asked_for.get(named, WITHOUT_COPY)
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


def test_one_call_per_retry_interval(clock: Clock) -> None:
    """An id whose call failed is asked for again after RETRY_INTERVAL, not before."""
    with service(Answer(500)) as client:
        resolver = make(client, retry_interval=30, breaker_failures=100, **PATIENT)
        later = Later(resolver)
        grow_stale(resolver, clock, "acme", "globex")
        for calls in (1, 2, 3):
            for _ in range(10):
                resolver.resolve(asks())
            assert client.calls == calls
            later.passed += 30
        resolver.resolve(asks(instance_id="globex"))
        assert client.calls == 4


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("script", FAULTS.values(), ids=FAULTS)
def test_recovery_is_visible(
    script: Script | None, twin: Twin, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A recovery is noticed within RETRY_INTERVAL, and logged once."""
    with ScriptedServer(script or Answer(500)) as server:
        resolver = make(server.url, retry_interval=60, config_service_timeout=2, soft_timeout=5)
        later = Later(resolver)
        grow_stale(resolver, clock)
        twin(resolver, "resolve", asks())
        wait_until(lambda: has_landed(resolver))
        server.answers = healthy
        assert twin(resolver, "resolve", asks()).source is Source.STALE_CACHE
        later.passed += 60
        result = twin(resolver, "resolve", asks())
    assert (result.source, result.config.r2_bucket) == (Source.SERVICE, "second")
    assert len(lines(caplog)) == 2
    assert lines(caplog)[1].endswith("works again.")


def test_refreshes_do_not_hold_up_lookups() -> None:
    """While forty refreshes hang, entries in the cache are served at once."""
    gate = Event()
    with ScriptedServer(healthy) as server:
        resolver = make(server.url, config_service_timeout=10)
        resolver.warm_cache([config()])
        server.answers = lambda request: healthy(request) if gate.wait(10) else Answer(500)

        async def main() -> list[LookupResult]:
            names = [f"i{number}" for number in range(40)]
            refreshes = [asyncio.create_task(resolver.arefresh(name)) for name in names]
            try:
                await asyncio.to_thread(wait_until, lambda: len(server.received) == 32)
                async with asyncio.timeout(5):
                    result = await resolver.aresolve(asks())
                assert result.source is Source.CACHE
                assert not any(refresh.done() for refresh in refreshes)
            finally:
                gate.set()
            return await asyncio.gather(*refreshes)

        assert {result.source for result in asyncio.run(main())} == {Source.SERVICE}
