"""What happens between a caller's look at the cache and the call that it leads to."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from instance_lookup import AccessDenied, ConfigServiceUnavailable, InstanceResolver, Source
from instance_lookup.concurrency.crew import Full
from instance_lookup.concurrency.single_flight import Flight, _Board, _Group
from instance_lookup.concurrency.steps import drive
from instance_lookup.resilience.deadline import Deadline
from tests.outages.crowds import GOOD, LONG
from tests.outages.service_outages import make
from tests.support.fetchers import OLGA, read_minted
from tests.support.lookups import SAM, asks, hooked_caches
from tests.support.servers import Answer, Received, Script, ScriptedServer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PART = (True, None)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with override_settings(CACHES=hooked_caches()), ScriptedServer(GOOD) as server:
        yield server


@pytest.fixture
def resolver(server: ScriptedServer) -> InstanceResolver:
    return make(server.url, config_service_timeout=LONG)


def test_stored_between_the_look_and_the_call(
    resolver: InstanceResolver, server: ScriptedServer
) -> None:
    """An entry that another process stored after the look is served without a call."""
    loader = resolver._load_config
    seen = loader._cache.read("acme")
    make(server.url, config_service_timeout=LONG).resolve(asks())
    outcome: Any = loader._flights._fly(
        "acme", seen, OLGA, PART, lambda _: pytest.fail("it was asked for")
    )
    assert outcome.found.source is Source.CACHE


def test_call_of_another_user_is_waited_for_alone_for_half_of_the_time(
    server: ScriptedServer,
) -> None:
    """After half of the time a follower makes its own call: the other user may be refused."""

    def script(request: Received) -> Script:
        return Answer(403, delay=LONG) if request.headers["X-User-ID"] == "sam" else GOOD

    server.answers = script
    resolver = make(server.url, config_service_timeout=1.0)
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(resolver.resolve, asks(SAM))
        wait_until(lambda: server.received)
        began = monotonic()
        assert resolver.resolve(asks()).source is Source.SERVICE
        assert monotonic() - began > 0.25
        # The document that has come meanwhile answers the first one as well, who is not its owner.
        assert isinstance(leader.exception(LONG), AccessDenied)


def test_begun_between_the_look_and_the_call(
    resolver: InstanceResolver, server: ScriptedServer
) -> None:
    """Two callers share one call, though one of them looked before the generation was written."""
    gate = threading.Event()

    def script(request: Received) -> Script:
        gate.wait(LONG)
        return GOOD

    server.answers = script
    loader = resolver._load_config
    flights, seen = loader._flights, loader._cache.read("acme")
    later = flights.begin("acme", read_minted(loader._cache, "acme"), OLGA, patient=True)
    wait_until(lambda: server.received)
    first = flights.begin("acme", seen, OLGA, patient=True)
    wait_until(lambda: later.future._done_callbacks)  # type: ignore[attr-defined]
    gate.set()
    assert first.future.result(LONG) is later.future.result(LONG)
    assert len(server.received) == 1


@pytest.mark.parametrize(("error", "reason"), [(Full("?"), "full"), (RuntimeError("?"), "busy")])
def test_flight_that_does_not_take_off(
    resolver: InstanceResolver, error: Exception, reason: str
) -> None:
    """Callers who had joined it are told what the one is told who began it."""
    future: Future[Any] = Future()
    future.set_exception(error)
    flight = Flight(_Group(_Board(), ["acme"]), None, future, 0.0, OLGA.identity)
    with pytest.raises(ConfigServiceUnavailable) as caught:
        drive(resolver._load_config._flights._await("acme", flight, Deadline.after(5), limit=5))
    assert caught.value.details["reason"] == reason
