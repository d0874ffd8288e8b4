"""What the Config Service denies: instances that do not exist, and users it refuses."""

from __future__ import annotations

import json
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceNotFound,
    InstanceResolver,
    LookupUser,
    Source,
)
from tests.support.insides import has_landed
from tests.support.lookups import ACME, ADA, OLGA, SAM, TWINS, Clock, Twin, asks
from tests.support.monotonic import Monotonic
from tests.support.servers import Answer, Answers, Received, ScriptedServer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOOD = Answer(200, json.dumps(ACME).encode())
OWN = "instance_generation:acme"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(GOOD) as server:
        yield server


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def make(server: ScriptedServer, clock: Clock) -> Iterator[Callable[..., InstanceResolver]]:
    made: list[InstanceResolver] = []

    def make_resolver(**options: Any) -> InstanceResolver:
        made.append(InstanceResolver(config_service_url=server.url, **options))
        return made[-1]

    yield make_resolver
    for resolver in made:
        resolver.backend._session.close()


@pytest.fixture
def resolver(make: Callable[..., InstanceResolver]) -> InstanceResolver:
    return make()


def with_stale_copy(resolver: InstanceResolver, clock: Clock) -> None:
    resolver.resolve(asks())
    clock.now += 300


def then(server: ScriptedServer, answers: Answers) -> None:
    """Let the server answer like this from now on, and forget what it was asked."""
    server.answers = answers
    server.received.clear()


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("with_copy", [False, True])
def test_missing(
    resolver: InstanceResolver, server: ScriptedServer, clock: Clock, status: int, with_copy: bool
) -> None:
    """A 404 or 410 is "not found", never a stale copy, and remembered for NEGATIVE_TTL."""
    if with_copy:
        with_stale_copy(resolver, clock)
    then(server, Answer(status))
    for _ in range(3):
        with pytest.raises(InstanceNotFound, match="Instance 'acme' does not exist"):
            resolver.resolve(asks())
    assert len(server.received) == 1
    clock.now += 30
    server.answers = Answer(500)
    with pytest.raises(ConfigServiceUnavailable):
        resolver.resolve(asks())


def test_denied_by_service(resolver: InstanceResolver, server: ScriptedServer) -> None:
    """A 403 is this user's alone, and remembered for NEGATIVE_TTL, also for fresh copies."""
    monotonic = Monotonic(resolver)
    server.answers = lambda request: Answer(403) if request.headers["X-User-ID"] == "olga" else GOOD
    with pytest.raises(AccessDenied):
        resolver.resolve(asks())
    assert resolver.resolve(asks(ADA)).source is Source.SERVICE
    with pytest.raises(AccessDenied):
        resolver.resolve(asks())
    assert len(server.received) == 2
    monotonic.now += 30
    assert resolver.resolve(asks()).source is Source.CACHE


def test_denied_by_service_never_stale(
    resolver: InstanceResolver, server: ScriptedServer, clock: Clock
) -> None:
    """A 403 never leads to a stale copy; one that would have let the user in is dropped."""
    with_stale_copy(resolver, clock)
    before = caches["default"].get(OWN)
    server.answers = Answer(403)
    with pytest.raises(AccessDenied):
        resolver.resolve(asks(OLGA))
    assert caches["default"].get(OWN) != before
    server.answers = Answer(500)
    with pytest.raises(ConfigServiceUnavailable):
        resolver.resolve(asks(ADA))


def test_denied_by_service_and_by_policy(
    resolver: InstanceResolver, server: ScriptedServer, clock: Clock
) -> None:
    """A copy that would not have let the refused user in anyway is kept for the others."""
    with_stale_copy(resolver, clock)
    server.answers = Answer(403)
    with pytest.raises(AccessDenied):
        resolver.resolve(asks(SAM))
    server.answers = Answer(500)
    assert resolver.resolve(asks(OLGA)).source is Source.STALE_CACHE


def refuse_late(resolver: InstanceResolver, server: ScriptedServer, ask: Callable[[], Any]) -> Any:
    """Return what ``ask`` gives, which the service refuses after that."""
    gate = Event()

    def answer(request: Received) -> Answer:
        gate.wait(10)
        return Answer(403)

    server.answers = answer
    try:
        result = ask()
    finally:
        gate.set()
    wait_until(lambda: has_landed(resolver))
    return result


@pytest.mark.parametrize("twin", TWINS)
def test_denied_by_service_after_the_soft_timeout(
    make: Callable[..., InstanceResolver], server: ScriptedServer, clock: Clock, twin: Twin
) -> None:
    """A 403 that comes late: the user's next request drops the copy, for all processes."""
    resolver = make(soft_timeout=0.05)
    with_stale_copy(resolver, clock)
    result = refuse_late(resolver, server, lambda: twin(resolver, "resolve", asks(OLGA)))
    assert result.source is Source.STALE_CACHE
    with pytest.raises(AccessDenied):
        twin(resolver, "resolve", asks(OLGA))
    server.answers = Answer(500)
    with pytest.raises(ConfigServiceUnavailable):
        twin(make(), "resolve", asks(ADA))


def test_denied_late_and_by_policy(
    make: Callable[..., InstanceResolver], server: ScriptedServer, clock: Clock
) -> None:
    """Late or not, one that would not have let the refused user in is kept for the others."""
    resolver = make(soft_timeout=0.05)
    with_stale_copy(resolver, clock)

    def ask() -> None:
        with pytest.raises(AccessDenied):
            resolver.resolve(asks(SAM))

    refuse_late(resolver, server, ask)
    ask()
    server.answers = Answer(500)
    assert make().resolve(asks(OLGA)).source is Source.STALE_CACHE


def test_denied_service_user(resolver: InstanceResolver, server: ScriptedServer) -> None:
    """The site itself may be refused too, and nobody else with it."""
    server.answers = Answer(403)
    with pytest.raises(AccessDenied):
        resolver.refresh("acme")
    server.answers = GOOD
    assert resolver.resolve(asks()).source is Source.SERVICE
    assert LookupUser.service().is_service
