"""What the Config Service answers, and what comes of it: real answers of a real server."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceResolver,
    RequestMetadata,
    Source,
)
from instance_lookup.signals import instance_rejected
from tests.support.gone import ETAG, Service, then, with_stale_copy
from tests.support.lookups import ACME, SAM, SECRET, Clock, acme, asks
from tests.support.servers import Answer, Script, mute, redirect, reset

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "our-own-credential"  # made up
GOOD = Answer(200, json.dumps(ACME).encode(), ETAG)
OPTIONS: dict[str, Any] = {
    "config_service_token": TOKEN,
    "config_service_max_bytes": 4096,
    "config_service_timeout": 1.0,
}

REJECTED = {
    "html": Answer(200, b"<html>login</html>"),
    "not-utf8": Answer(200, b'{"instance_id": "\xff"}'),
    "wrong-shape": Answer(200, json.dumps(acme("x", api_keys=[SECRET])).encode()),
    "null": Answer(200, b"null"),
    "wrong-id": Answer(200, json.dumps(acme("x", instance_id="other")).encode()),
    "too-big": Answer(200, json.dumps(acme("x" * 5000)).encode()),
    "no-content": Answer(204),
    "gzip": Answer(200, GOOD.body, {"Content-Encoding": "gzip"}),
}
FAILURES: dict[str, tuple[Script, str]] = {
    **{name: (script, "rejected") for name, script in REJECTED.items()},
    "401": (Answer(401), "credential"),
    **{str(code): (Answer(code), "status") for code in (408, 425, 500, 502, 503, 504)},
    "429": (Answer(429), "rate_limited"),
    **{str(code): (redirect("/elsewhere", code), "redirect") for code in (301, 302, 307, 308)},
    **{str(code): (Answer(code), "client_error") for code in (400, 405, 422)},
    "reset": (reset(), "unreachable"),
    "mute": (mute(), "timeout"),
}
failing = pytest.mark.parametrize(("script", "reason"), FAILURES.values(), ids=FAILURES)


@pytest.fixture
def resolver(make: Callable[..., InstanceResolver]) -> InstanceResolver:
    return make(**OPTIONS)


def test_good_answer(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    """A 200 is served, and stored with the time at which it was asked for."""
    result = resolver.resolve(asks())
    assert (result.source, result.cached_at, result.ttl_remaining) == (
        Source.SERVICE,
        clock.now,
        300,
    )
    clock.now += 100
    again = resolver.resolve(asks())
    assert (again.source, again.cached_at, again.ttl_remaining) == (
        Source.CACHE,
        clock.now - 100,
        200,
    )
    assert again.config == result.config
    assert len(service.received) == 1


def test_good_answer_replaces(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    """A 200 replaces the stale copy."""
    with_stale_copy(resolver, clock)
    service.answers = Answer(200, json.dumps(acme("second")).encode())
    assert resolver.resolve(asks()).config.r2_bucket == "second"
    assert resolver.resolve(asks()).source is Source.CACHE


def test_request_headers(make: Callable[..., InstanceResolver], service: Service) -> None:
    """Each request to the service names the user and the id of the request."""
    make(**OPTIONS).resolve(asks(request_metadata=RequestMetadata(request_id="r-1")))
    make(config_service_user_id="the-site").refresh("acme")
    first, second = (request.headers for request in service.received)
    assert (first["X-User-ID"], first["X-Request-ID"], first["If-None-Match"]) == (
        "olga",
        "r-1",
        None,
    )
    assert (second["X-User-ID"], second["If-None-Match"]) == ("the-site", '"1"')
    assert len(second["X-Request-ID"]) == 32
    assert first["Authorization"] == f"Bearer {TOKEN}"


def test_not_modified(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    """A 304 is served from the copy, and renews it together with its ETag."""
    with_stale_copy(resolver, clock)
    then(service, Answer(304))
    for _ in range(2):
        result = resolver.resolve(asks())
        assert (result.source, result.cached_at, result.ttl_remaining) == (
            Source.SERVICE,
            clock.now,
            300,
        )
        assert result.config.r2_bucket == "first"
        clock.now += 300
    assert [request.headers["If-None-Match"] for request in service.received] == ['"1"', '"1"']


def test_not_modified_without_copy(resolver: InstanceResolver, service: Service) -> None:
    """A 304 without a copy in the cache is a failure."""
    service.answers = Answer(304)
    with pytest.raises(ConfigServiceUnavailable) as caught:
        resolver.resolve(asks())
    assert caught.value.details["reason"] == "rejected"


@failing
def test_failure_without_copy(
    resolver: InstanceResolver, service: Service, script: Script, reason: str
) -> None:
    """No usable answer and no copy: 503, with the reason, when to come back, and no secret."""
    service.answers = script
    with pytest.raises(
        ConfigServiceUnavailable, match="instance 'acme' is not available"
    ) as caught:
        resolver.resolve(asks())
    assert caught.value.retry_after == 30.0
    assert caught.value.details["reason"] == reason
    assert caught.value.instance_id == "acme"
    said = repr((caught.value, caught.value.details, caught.value.__cause__))
    assert SECRET not in said
    assert TOKEN not in said


@failing
def test_failure_with_copy(
    resolver: InstanceResolver, service: Service, clock: Clock, script: Script, reason: str
) -> None:
    """No usable answer, but a stale copy: that is served, and kept as it was."""
    with_stale_copy(resolver, clock)
    before = caches["default"].get("instance_config:acme")
    then(service, script)
    result = resolver.resolve(asks())
    assert (result.source, result.ttl_remaining) == (Source.STALE_CACHE, 0.0)
    assert result.cached_at == clock.now - 300
    # The kept connection that is reset is replaced by a new one, once.
    asked = ["/instances/acme"] * (2 if reason == "unreachable" else 1)
    assert [request.path for request in service.received] == asked
    assert caches["default"].get("instance_config:acme") == before
    assert resolver.get_cache_stats().rejected == (reason == "rejected")


def test_failure_without_leave_for_stale(
    make: Callable[..., InstanceResolver], service: Service, clock: Clock
) -> None:
    """With USE_STALE_ON_ERROR=False a stale copy is never served."""
    resolver = make(use_stale_on_error=False)
    with_stale_copy(resolver, clock)
    service.answers = Answer(500)
    with pytest.raises(ConfigServiceUnavailable):
        resolver.resolve(asks())


def test_failure_does_not_let_strangers_in(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """A stale copy is for those only who may have it."""
    with_stale_copy(resolver, clock)
    service.answers = Answer(500)
    with pytest.raises(AccessDenied):
        resolver.resolve(asks(SAM))


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0", 0.0), ("99999", 60.0)])
def test_retry_after(
    resolver: InstanceResolver, service: Service, header: str, seconds: float
) -> None:
    """Retry-After of the service is passed on, up to a minute."""
    service.answers = Answer(503, headers={"Retry-After": header})
    with pytest.raises(ConfigServiceUnavailable) as caught:
        resolver.resolve(asks())
    assert caught.value.retry_after == seconds


def test_refused_connection(make: Callable[..., InstanceResolver]) -> None:
    """A refused connection is the reason "unreachable"."""
    with pytest.raises(ConfigServiceUnavailable) as caught:
        make(config_service_url="http://127.0.0.1:9").resolve(asks())
    assert caught.value.details["reason"] == "unreachable"


@pytest.mark.parametrize("name", REJECTED)
def test_rejected_signal(resolver: InstanceResolver, service: Service, name: str) -> None:
    """An unusable 200 is announced by its reason, which tells no value of it."""
    heard: list[tuple[Any, str]] = []

    def receiver(*, instance_id: str, reason: str, **kwargs: object) -> None:
        heard.append((instance_id, reason))
        raise RuntimeError("a receiver's own trouble")

    instance_rejected.connect(receiver)
    service.answers = REJECTED[name]
    try:
        with pytest.raises(ConfigServiceUnavailable):
            resolver.resolve(asks())
    finally:
        instance_rejected.disconnect(receiver)
    assert [instance_id for instance_id, _ in heard] == ["acme"]
    assert SECRET not in heard[0][1]
    assert resolver.get_cache_stats().rejected == 1


def logged(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [record.levelno for record in caplog.records if record.name == "instance_lookup"]


@pytest.mark.parametrize(
    ("script", "level"),
    [
        (Answer(401), logging.ERROR),
        (Answer(400), logging.ERROR),
        (Answer(500), logging.WARNING),
        (Answer(200, b"{}"), logging.WARNING),
    ],
)
def test_log_on_change_only(
    resolver: InstanceResolver,
    service: Service,
    caplog: pytest.LogCaptureFixture,
    script: Script,
    level: int,
) -> None:
    """An outage is one line when it begins and one when it ends, not one a request."""
    for answers in (script, script, script, GOOD, GOOD):
        service.answers = answers
        resolver.cache.invalidate("acme")
        with suppress(ConfigServiceUnavailable):
            resolver.resolve(asks())
    assert logged(caplog) == [level, logging.WARNING]
    assert SECRET not in caplog.text
    assert TOKEN not in caplog.text
