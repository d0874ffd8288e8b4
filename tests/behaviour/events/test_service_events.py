"""Calls to the Config Service and what they brought, as they are told to those who watch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from instance_lookup import ConfigServiceUnavailable, InstanceLookupError, InstanceResolver, events
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.events import Began, Rejection, ServiceCall
from instance_lookup.exceptions import AccessDenied, InvalidContext
from instance_lookup.warming import warm
from tests.support.gone import GONE, PAGE
from tests.support.insides import disconnect
from tests.support.lookups import ACME, DOWN, Clock, Service, Twin, acme, asks, project
from tests.support.servers import Answer, ScriptedServer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.watching import Told


def calls(told: Told) -> list[tuple[str, str, str, int | None]]:
    return [(each.kind, each.asked, each.outcome, each.status) for each in told.of(ServiceCall)]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def over_http(server: ScriptedServer) -> Iterator[InstanceResolver]:
    resolver = InstanceResolver(config_service_url=server.url)
    yield resolver
    disconnect(resolver.backend)


@pytest.mark.parametrize(
    ("answer", "outcome", "status"),
    [
        (Answer(200, json.dumps(ACME).encode()), "ok", 200),
        (Answer(403), "denied", 403),
        (GONE, "missing", 404),
        (PAGE, "not_the_service", 404),
        (Answer(500), "status", 500),
        (Answer(200, b"{}"), "rejected", 200),
        (Answer(200, json.dumps({**ACME, "instance_id": "ACME"}).encode()), "missing", 200),
        (Answer(200, b"{}", {"Content-Encoding": "gzip"}), "rejected", 200),
    ],
)
def test_outcomes(  # noqa: PLR0917  # fixtures, and what varies
    over_http: InstanceResolver,
    server: ScriptedServer,
    told: Told,
    answer: Answer,
    outcome: str,
    status: int,
) -> None:
    """Each call is told with its outcome, its status, its time and the id of its request."""
    server.answers = answer
    try:
        over_http.resolve(asks())
    except InstanceLookupError:
        assert outcome != "ok"
    assert calls(told) == [("instance", "acme", outcome, status)]
    (call,) = told.of(ServiceCall)
    assert call.seconds > 0
    assert call.request_id == server.received[0].headers["X-Request-ID"]


def test_unchanged_document(
    resolver: InstanceResolver, call: Twin, told: Told, clock: Clock
) -> None:
    """A 304 is an outcome of its own."""
    call(resolver, "resolve", asks())
    clock.now += 400
    call(resolver, "resolve", asks())
    assert [each.outcome for each in told.of(ServiceCall)] == ["ok", "not_modified"]


def test_project(resolver: InstanceResolver, call: Twin, told: Told) -> None:
    """A lookup by project calls for the project, then for its instance."""
    call(resolver, "resolve", project())
    assert calls(told) == [("project", "shop", "ok", None), ("instance", "acme", "ok", None)]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConfigServiceUnavailable("down"), "ConfigServiceUnavailable"),
        (ConfigServiceUnavailable("down", reason=None), "ConfigServiceUnavailable"),
        (ConfigServiceUnavailable("down", reason="disk 7"), "disk 7"),
        (ConfigServiceUnavailable("down", reason=["disk", 7]), "['disk', 7]"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (InvalidContext("no URL can hold it"), "InvalidContext"),
    ],
)
def test_error_of_a_backend(
    resolver: InstanceResolver, told: Told, service: Service, error: Exception, outcome: str
) -> None:
    """An error is told by its reason, whatever that is, and without one by its class."""
    service.failure = error
    with pytest.raises(InstanceLookupError):
        resolver.resolve(asks())
    assert calls(told) == [("instance", "acme", outcome, None)]


def test_call_that_the_breaker_refuses(told: Told, service: Service) -> None:
    """While the circuit breaker is open no call is made, so none is told."""
    resolver = InstanceResolver(config_service_backend=service, breaker_failures=1)
    service.failure = DOWN
    for _ in range(3):
        with pytest.raises(ConfigServiceUnavailable):
            resolver.resolve(asks())
    assert calls(told) == [("instance", "acme", "status", None)]


def test_warming(resolver: InstanceResolver, told: Told) -> None:
    """Warming calls the service, and looks nothing up."""
    assert list(warm(resolver, ["acme"])) == ["acme"]
    assert calls(told) == [("instance", "acme", "ok", None)]
    assert told.of(events.Lookup) == []


def test_refresh_ahead(resolver: InstanceResolver, call: Twin, told: Told, clock: Clock) -> None:
    """A refresh ahead is told as well, though no lookup waits for it."""
    call(resolver, "resolve", asks())
    clock.now += 299.99
    call(resolver, "resolve", asks())
    wait_until(lambda: len(told.of(ServiceCall)) == 2)
    assert [each.source for each in told.of(events.Lookup)] == ["service", "cache"]


def test_watcher_adds_a_header(over_http: InstanceResolver, server: ScriptedServer) -> None:
    """What a watcher adds as a call begins is sent with it, and replaces none of ours."""

    def add(event: events.Event) -> None:
        if isinstance(event, Began):
            event.headers.update({"traceparent": "00-ab-cd-01", "X-Request-ID": "not this"})

    events.watch(add)
    try:
        with pytest.raises(InstanceLookupError):
            over_http.resolve(asks())
    finally:
        events.unwatch(add)
    headers = server.received[0].headers
    assert headers["traceparent"] == "00-ab-cd-01"
    assert headers["X-Request-ID"] != "not this"


def test_watcher_that_comes_during_a_call(
    resolver: InstanceResolver, told: Told, service: Service
) -> None:
    """A watcher that has not been told of the beginning is not told of the end."""
    events.unwatch(events.watchers[0])
    watcher = told.append
    service.meanwhile = lambda: events.watch(watcher)
    resolver.resolve(asks())
    events.unwatch(watcher)
    assert not told.of(ServiceCall)
    assert not told.of(events.Lookup)


@pytest.mark.parametrize(
    ("document", "reasons"),
    [
        ({"instance_id": "other"}, ["document"]),
        (acme("first", features={"a": "maybe", "b": "perhaps"}), ["part", "part"]),
    ],
)
def test_rejections(told: Told, document: dict[str, object], reasons: list[str]) -> None:
    """An answer that is refused is told once, one that lacks parts once for each of them."""
    service = DictConfigService({"acme": document})
    resolver = InstanceResolver(config_service_backend=service)
    try:
        resolver.resolve(asks())
    except ConfigServiceUnavailable:
        assert reasons == ["document"]
    assert [each.reason for each in told.of(Rejection)] == reasons


def test_refusal_holds_no_secret(resolver: InstanceResolver, told: Told, service: Service) -> None:
    """No event holds a key of a configuration, or what an answer says."""
    resolver.resolve(asks())
    service.failure = AccessDenied("sk-live-")
    with pytest.raises(AccessDenied):
        resolver.resolve(asks(instance_id="other"))
    assert "sk-live" not in repr(told)
