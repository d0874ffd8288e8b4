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
from tests.support.lookups import ACME, SAM, SECRET, Clock, acme, asks
from tests.support.servers import Answer, Answers, Script, ScriptedServer, mute, redirect, reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "our-own-credential"  # made up
ETAG = {"ETag": '"1"'}
GOOD = Answer(200, json.dumps(ACME).encode(), ETAG)

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
    **{str(code): (Answer(code), "status") for code in (408, 425, 429, 500, 502, 503, 504)},
    **{str(code): (redirect("/elsewhere", code), "redirect") for code in (301, 302, 307, 308)},
    **{str(code): (Answer(code), "client_error") for code in (400, 405, 422)},
    "reset": (reset(), "unreachable"),
    "mute": (mute(), "timeout"),
}
failing = pytest.mark.parametrize(("script", "reason"), FAILURES.values(), ids=FAILURES)


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
        options = {
            "config_service_url": server.url,
            "config_service_token": TOKEN,
            "config_service_max_bytes": 4096,
            "config_service_timeout": 1.0,
            **options,
        }
        made.append(InstanceResolver(**options))
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


def test_good_answer(resolver: InstanceResolver, server: ScriptedServer, clock: Clock) -> None:
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
    assert len(server.received) == 1


def test_good_answer_replaces(
    resolver: InstanceResolver, server: ScriptedServer, clock: Clock
) -> None:
    """A 200 replaces the stale copy."""
    with_stale_copy(resolver, clock)
    server.answers = Answer(200, json.dumps(acme("second")).encode())
    assert resolver.resolve(asks()).config.r2_bucket == "second"
    assert resolver.resolve(asks()).source is Source.CACHE


def test_request_headers(make: Callable[..., InstanceResolver], server: ScriptedServer) -> None:
    """The service hears for whom it is asked, and by which request."""
    make().resolve(asks(request_metadata=RequestMetadata(request_id="r-1")))
    make(config_service_user_id="the-site").refresh("acme")
    first, second = (request.headers for request in server.received)
    assert (first["X-User-ID"], first["X-Request-ID"], first["If-None-Match"]) == (
        "olga",
        "r-1",
        None,
    )
    assert (second["X-User-ID"], second["If-None-Match"]) == ("the-site", '"1"')
    assert len(second["X-Request-ID"]) == 32
    assert first["Authorization"] == f"Bearer {TOKEN}"


def test_not_modified(resolver: InstanceResolver, server: ScriptedServer, clock: Clock) -> None:
    """A 304 is served from the copy, and renews it together with its ETag."""
    with_stale_copy(resolver, clock)
    then(server, Answer(304))
    for _ in range(2):
        result = resolver.resolve(asks())
        assert (result.source, result.cached_at, result.ttl_remaining) == (
            Source.SERVICE,
            clock.now,
            300,
        )
        assert result.config.r2_bucket == "first"
        clock.now += 300
    assert [request.headers["If-None-Match"] for request in server.received] == ['"1"', '"1"']


def test_not_modified_without_copy(resolver: InstanceResolver, server: ScriptedServer) -> None:
    """A 304 to somebody who holds nothing is a failure."""
    server.answers = Answer(304)
    with pytest.raises(ConfigServiceUnavailable) as caught:
        resolver.resolve(asks())
    assert caught.value.details["reason"] == "rejected"


@failing
def test_failure_without_copy(
    resolver: InstanceResolver, server: ScriptedServer, script: Script, reason: str
) -> None:
    """No usable answer and no copy: 503, with the reason, when to come back, and no secret."""
    server.answers = script
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
    resolver: InstanceResolver, server: ScriptedServer, clock: Clock, script: Script, reason: str
) -> None:
    """No usable answer, but a stale copy: that is served, and kept as it was."""
    with_stale_copy(resolver, clock)
    before = caches["default"].get("instance_config:acme")
    then(server, script)
    result = resolver.resolve(asks())
    assert (result.source, result.ttl_remaining) == (Source.STALE_CACHE, 0.0)
    assert result.cached_at == clock.now - 300
    # The kept connection that is reset is replaced by a new one, once.
    asked = ["/instances/acme"] * (2 if reason == "unreachable" else 1)
    assert [request.path for request in server.received] == asked
    assert caches["default"].get("instance_config:acme") == before
    assert resolver.get_cache_stats().rejected == (reason == "rejected")


def test_failure_without_leave_for_stale(
    make: Callable[..., InstanceResolver], server: ScriptedServer, clock: Clock
) -> None:
    """USE_STALE_ON_ERROR=False means no stale copy ever."""
    resolver = make(use_stale_on_error=False)
    with_stale_copy(resolver, clock)
    server.answers = Answer(500)
    with pytest.raises(ConfigServiceUnavailable):
        resolver.resolve(asks())


def test_failure_does_not_let_strangers_in(
    resolver: InstanceResolver, server: ScriptedServer, clock: Clock
) -> None:
    """A stale copy is for those only who may have it."""
    with_stale_copy(resolver, clock)
    server.answers = Answer(500)
    with pytest.raises(AccessDenied):
        resolver.resolve(asks(SAM))


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0", 0.0), ("99999", 60.0)])
def test_retry_after(
    resolver: InstanceResolver, server: ScriptedServer, header: str, seconds: float
) -> None:
    """What the service says about coming back is handed on, up to a minute."""
    server.answers = Answer(503, headers={"Retry-After": header})
    with pytest.raises(ConfigServiceUnavailable) as caught:
        resolver.resolve(asks())
    assert caught.value.retry_after == seconds


def test_refused_connection(make: Callable[..., InstanceResolver]) -> None:
    """Nobody listens: 503."""
    with pytest.raises(ConfigServiceUnavailable) as caught:
        make(config_service_url="http://127.0.0.1:9").resolve(asks())
    assert caught.value.details["reason"] == "unreachable"


@pytest.mark.parametrize("name", REJECTED)
def test_rejected_signal(resolver: InstanceResolver, server: ScriptedServer, name: str) -> None:
    """An unusable 200 is announced by its reason, which tells no value of it."""
    heard: list[tuple[Any, str]] = []

    def receiver(*, instance_id: str, reason: str, **kwargs: object) -> None:
        heard.append((instance_id, reason))
        raise RuntimeError("a receiver's own trouble")

    instance_rejected.connect(receiver)
    server.answers = REJECTED[name]
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
    server: ScriptedServer,
    caplog: pytest.LogCaptureFixture,
    script: Script,
    level: int,
) -> None:
    """An outage is one line when it begins and one when it ends, not one a request."""
    for answers in (script, script, script, GOOD, GOOD):
        server.answers = answers
        resolver.cache.invalidate("acme")
        with suppress(ConfigServiceUnavailable):
            resolver.resolve(asks())
    assert logged(caplog) == [level, logging.WARNING]
    assert SECRET not in caplog.text
    assert TOKEN not in caplog.text
