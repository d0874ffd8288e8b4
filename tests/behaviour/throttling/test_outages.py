"""The cache cannot count: what becomes of the calls, and what the log says."""

from __future__ import annotations

import logging
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import RateLimit
from instance_lookup.cache.health import CACHE_SKIPPED
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.throttling import counter as counter_module
from instance_lookup.throttling.counter import get_counter
from tests.support.caches import use_cache
from tests.support.documents import ROOT
from tests.support.doors import NO_STORE, PROBLEM, Caller
from tests.support.monotonic import Monotonic
from tests.support.throttles import taken
from tests.support.waiting import within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.auth.models import User

    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.urls("tests.behaviour.throttling.views")
LIMIT = RateLimit(rpm=1, rpm_burst=3)
HANGS = 1.0
"""Seconds after which the client gives up, see ``tests/support/caches.py``."""
_QUICK = {("render", False, False), ("arender", True, True)}
KILLED = [
    pytest.param(*each, marks=[] if each in _QUICK else pytest.mark.full)
    for each in product(["render", "arender"], [True, False], [True, False])
]
"""Each kind of view, answer and server; in a full run all of them together."""


@pytest.fixture(params=["redis", "django-redis"])
def alias(request: pytest.FixtureRequest, own_redis_server: RedisServer) -> Iterator[str]:
    with use_cache(request.param, redis_url=own_redis_server.url()) as alias:
        yield alias


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        each.getMessage()
        for each in caplog.records
        if each.name == "instance_lookup" and "rate limits" in each.getMessage()
    ]


@pytest.mark.parametrize(("path", "fail_open", "is_async"), KILLED)
def test_server_is_killed(
    olga: User,
    own_redis_server: RedisServer,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    path: str,
    *,
    fail_open: bool,
    is_async: bool,
) -> None:
    """Calls go on, or get 503; the log has a line when it begins and one when it is over."""
    with use_cache("redis", redis_url=own_redis_server.url()) as alias:
        options = {"CACHE_ALIAS": alias, "THROTTLE_FAIL_OPEN": fail_open}
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, **options}
        caller = Caller(is_async=is_async).login(olga)
        time = Monotonic(get_counter(alias))
        assert [caller(path, "acme").status_code for _ in range(4)] == [200, 200, 200, 429]
        own_redis_server.kill()
        answers = [caller(path, "acme") for _ in range(5)]
        assert {each.status_code for each in answers} == {200 if fail_open else 503}
        assert {"RateLimit" in each.headers for each in answers} == {False}
        if not fail_open:
            assert answers[0].headers["Content-Type"] == PROBLEM
            assert answers[0].headers["Retry-After"] == "5"
            assert answers[0].headers["Cache-Control"] == NO_STORE
            assert "rate-limit-unavailable" in answers[0].content.decode()
        own_redis_server.start()
        time.now += CACHE_SKIPPED
        assert [caller(path, "acme").status_code for _ in range(4)] == [200, 200, 200, 429]
        del settings.INSTANCE_LOOKUP  # before the alias is gone
    meanwhile = "they are let through" if fail_open else "they get 503"
    assert lines(caplog) == [
        f"The cache 'instances' cannot count calls for rate limits (ConnectionError): {meanwhile},"
        " as THROTTLE_FAIL_OPEN says. Check its server. It is tried again every 5 s.",
        "The count of rate limits in the cache 'instances' works again.",
    ]


def test_server_that_hangs_costs_one_call_its_timeout(
    own_redis_server: RedisServer, alias: str
) -> None:
    counter = get_counter(alias)
    assert taken(counter, LIMIT, 1) == 1
    own_redis_server.pause()
    try:
        with within(HANGS):  # 200 of them would take as many seconds
            for _ in range(200):
                assert counter.count("render", "acme", LIMIT, fail_open=True) is None
    finally:
        own_redis_server.resume()


def test_connection_that_was_forgotten(own_redis_server: RedisServer, alias: str) -> None:
    """A server that was started again is asked on a fresh connection, at once."""
    counter = get_counter(alias)
    assert taken(counter, LIMIT, 5) == 3
    own_redis_server.kill()
    own_redis_server.start()
    assert taken(counter, LIMIT, 5) == 3


def test_crowd_that_empties_the_pool(
    alias: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not turn its limit off: calls wait for a connection, though not for long."""
    cache: Any = key_values[alias]
    pool, pauses = cache._client.connection_pool, []
    pool.disconnect()
    pool.reset()
    monkeypatch.setattr(pool, "max_connections", 0)

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            pool.max_connections = 1  # another thread is done with its connection

    monkeypatch.setattr(counter_module, "sleep", pause)
    assert taken(get_counter(alias), LIMIT, 4) == 3
    assert pauses == [0.001, 0.004]
    pool.disconnect()
    pool.reset()
    pool.max_connections = 0
    assert get_counter(alias).count("render", "acme", LIMIT, fail_open=True) is None
    assert pauses[2:] == [0.001, 0.004, 0.016, 0.064]
    assert "has no connection left" in caplog.text
    pool.max_connections = 1
    assert taken(get_counter(alias), LIMIT, 1) == 0  # and is counted again at once


def test_user_who_may_not_run_scripts(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what to allow; what docs/explanation/security.md lists is enough."""
    listed = _listed()
    own_redis_server.command("ACL", "SETUSER", "site", "on", ">pw", "~*", *listed, "-evalsha")
    url = own_redis_server.url().replace("//", "//site:pw@")
    with use_cache("redis", redis_url=url) as alias:
        counter = get_counter(alias)
        time = Monotonic(counter)
        for _ in range(3):
            assert counter.count("render", "acme", LIMIT, fail_open=True) is None
        assert [line.partition(" It is")[0] for line in lines(caplog)] == [
            "The cache 'instances' cannot count calls for rate limits (NoPermissionError): they are"
            " let through, as THROTTLE_FAIL_OPEN says. Its user must be allowed EVALSHA, EVAL,"
            " TIME, GET and SET, and the server must run Lua."
        ]
        own_redis_server.command("ACL", "SETUSER", "site", "+evalsha")
        time.now += CACHE_SKIPPED
        assert taken(counter, LIMIT, 4) == 3
        key_values[alias].publish("x", b"y")  # no rights were lost


def _listed() -> list[str]:
    """Return the commands that the page allows, and what the test's own clean-up needs."""
    page = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
    block = page.partition("ACL SETUSER mysite")[2].partition("\n\n")[0]
    return [word for word in block.split() if word[0] in "+-"] + ["+flushdb", "&*"]


def test_log_says_nothing_twice(caplog: pytest.LogCaptureFixture, alias: str) -> None:
    counter = get_counter(alias)
    with caplog.at_level(logging.DEBUG, "instance_lookup"):
        assert taken(counter, LIMIT, 4) == 3
    assert lines(caplog) == []
