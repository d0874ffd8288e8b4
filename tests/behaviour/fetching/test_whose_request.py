"""Work in a thread of ours belongs to the request that began it: its context is the request's."""

from __future__ import annotations

import logging
from contextvars import ContextVar, copy_context
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from instance_lookup import ConfigServiceUnavailable, InstanceLookupError, InstanceResolver
from instance_lookup.cache.pubsub import Channel
from instance_lookup.signals import (
    access_denied,
    instance_invalidated,
    instance_rejected,
    instance_resolved,
)
from instance_lookup.warming import warm
from tests.behaviour.fetching.test_leased_fetcher import fetch, held
from tests.support.fetchers import Process, down, read_minted
from tests.support.lookups import (
    ADA,
    TWINS,
    Clock,
    Service,
    Twin,
    acme,
    asks,
    hooked_caches,
    hooks,
)
from tests.support.near import Hearer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.dispatch import Signal

    from instance_lookup.backends.base import Document, NotModified, Query

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


class Asked(Service):
    """Notes in whose context it is asked, and for what."""

    def __init__(self) -> None:
        super().__init__()
        self.instances |= {"bobs": acme("bob's", instance_id="bobs")}
        self.asked: list[tuple[str, str]] = []

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        self.asked.append((instance_id, WHO.get()))
        return super().get_instance(instance_id, query)

    def get_project(self, project_id: str, query: Query) -> Document | NotModified:
        self.asked.append((project_id, WHO.get()))
        return super().get_project(project_id, query)


class Lines(logging.Handler):
    """Notes in whose context a line is logged, as error trackers do."""

    def __init__(self) -> None:
        super().__init__()
        self.of: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.of.append(WHO.get())


@pytest.fixture
def service() -> Asked:
    return Asked()


@pytest.fixture
def resolver(service: Asked) -> Iterator[InstanceResolver]:
    with override_settings(CACHES=hooked_caches()):
        yield InstanceResolver(config_service_backend=service)


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("instance_lookup")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def as_request(who: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call ``function`` in the context of ``who``'s request; return its result or its error."""

    def serve() -> Any:
        WHO.set(who)
        try:
            return function(*args, **kwargs)
        except InstanceLookupError as exc:
            return exc

    return copy_context().run(serve)


def heard_by(signal: Signal) -> list[str]:
    """Return a list of those in whose context the signal is sent from now on."""
    heard: list[str] = []

    def receive(**kwargs: Any) -> None:
        heard.append(WHO.get())

    signal.connect(receive, weak=False)
    return heard


@pytest.mark.parametrize("call", TWINS)
def test_service_is_asked_in_the_context_of_the_request(
    resolver: InstanceResolver, service: Asked, call: Twin
) -> None:
    """Each call has the context of its request, also in a thread that another request started."""
    as_request("alice", call, resolver, "resolve", asks(ADA))
    as_request("bob", call, resolver, "resolve", asks(ADA, "bobs"))
    assert service.asked == [("acme", "alice"), ("bobs", "bob")]


@pytest.mark.parametrize("call", TWINS)
def test_service_is_asked_for_a_project_in_the_context_of_the_request(
    resolver: InstanceResolver, service: Asked, call: Twin
) -> None:
    """A project and then its instance are asked for in the context of the request."""
    as_request("alice", call, resolver, "resolve", asks(ADA, None, project_id="shop"))
    assert service.asked == [("shop", "alice"), ("acme", "alice")]


@pytest.mark.parametrize("call", TWINS)
def test_lines_are_logged_in_the_context_of_the_request(
    resolver: InstanceResolver, service: Asked, lines: Lines, call: Twin
) -> None:
    """An error tracker shows the one whose fetch failed, not the one that started the thread."""
    as_request("alice", call, resolver, "resolve", asks(ADA))
    service.failure = ConfigServiceUnavailable("401", reason="credential")
    as_request("bob", call, resolver, "resolve", asks(ADA, "bobs"))
    assert set(lines.of) == {"bob"}


@pytest.mark.parametrize("call", TWINS)
def test_lines_about_the_cache_are_logged_in_the_context_of_the_request(
    resolver: InstanceResolver, lines: Lines, call: Twin
) -> None:
    """Lines about the cache have the context of the request, also from an event loop."""
    with hooks(down):
        as_request("alice", call, resolver, "resolve", asks(ADA))
    assert set(lines.of) == {"alice"}


@pytest.mark.parametrize("call", TWINS)
@pytest.mark.parametrize(
    ("signal", "document"),
    [
        (instance_resolved, acme("bob's", instance_id="bobs")),
        (instance_rejected, {"instance_id": "another"}),
        (access_denied, acme("bob's", instance_id="bobs", metadata={"owner": "bob"})),
    ],
    ids=["resolved", "rejected", "denied"],
)
def test_signals_are_sent_in_the_context_of_the_request(
    resolver: InstanceResolver,
    service: Asked,
    call: Twin,
    signal: Signal,
    document: dict[str, Any],
) -> None:
    """A receiver finds the trace, the user and the language of the request it hears about."""
    as_request("alice", call, resolver, "resolve", asks())
    service.instances["bobs"] = document
    heard = heard_by(signal)
    as_request("bob", call, resolver, "resolve", asks(instance_id="bobs"))
    assert heard == ["bob"]


@pytest.mark.parametrize("call", TWINS)
def test_invalidation_is_told_in_the_context_of_its_caller(
    resolver: InstanceResolver, call: Twin
) -> None:
    """The async twin does it in a thread."""
    as_request("alice", call, resolver, "resolve", asks())
    heard = heard_by(instance_invalidated)
    as_request("bob", call, resolver, "invalidate_cache", "acme")
    assert heard == ["bob"]


@pytest.mark.parametrize("call", TWINS)
def test_refresh_belongs_to_its_caller(
    resolver: InstanceResolver, service: Asked, call: Twin
) -> None:
    """A refresh has the context of its caller, also in the async twin's pool."""
    as_request("alice", call, resolver, "refresh", "acme")
    as_request("bob", call, resolver, "refresh", "bobs")
    assert service.asked == [("acme", "alice"), ("bobs", "bob")]


@pytest.mark.parametrize("call", TWINS)
def test_refresh_ahead_belongs_to_the_request_that_begins_it(
    resolver: InstanceResolver, service: Asked, monkeypatch: pytest.MonkeyPatch, call: Twin
) -> None:
    """A refresh ahead has the context of the request that began it, which may be over by then."""
    clock = Clock(monkeypatch)
    as_request("alice", call, resolver, "resolve", asks())
    clock.now += 299.999
    as_request("bob", call, resolver, "resolve", asks())
    wait_until(lambda: len(service.asked) == 2)
    assert service.asked[1] == ("acme", "bob")


def test_flight_belongs_to_the_request_that_begins_it(
    resolver: InstanceResolver, service: Asked
) -> None:
    """A flight keeps the context of the request that began it when others join."""
    landing = Event()
    service.meanwhile = lambda: landing.wait(10)
    requests = [
        Thread(target=as_request, args=[who, resolver.resolve, asks(ADA)])
        for who in ("alice", "bob")
    ]
    requests[0].start()
    wait_until(lambda: service.asked)
    requests[1].start()
    landing.set()
    for request in requests:
        request.join(10)
    assert service.asked == [("acme", "alice")]


def test_call_beside_another_process_belongs_to_the_request(
    service: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower that stops waiting for the leader asks in a thread of another pool."""
    with override_settings(CACHES=hooked_caches()):
        ours = Process(service)
        seen = read_minted(ours.cache, "acme")
        lease = held(ours, seen)
        monkeypatch.setattr(
            "instance_lookup.fetching.leased_fetcher.sleep", lambda seconds: lease.release()
        )
        as_request("bob", fetch, ours, seen)
    assert service.asked == [("acme", "bob")]


def test_warming_belongs_to_its_caller(resolver: InstanceResolver, service: Asked) -> None:
    """A command or task has a trace as well."""
    as_request("alice", lambda: list(warm(resolver, ["acme", "bobs"])))
    assert sorted(service.asked) == [("acme", "alice"), ("bobs", "alice")]


def test_subscription_belongs_to_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The channel's thread inherits no request's context, since it outlives the request."""
    seen: list[str] = []
    monkeypatch.setattr(Thread, "start", lambda thread: seen.append(WHO.get()))
    hearer = Hearer()
    as_request("alice", Channel("default", "invalidations", "Redis").listen, hearer)
    assert seen == ["nobody"]
