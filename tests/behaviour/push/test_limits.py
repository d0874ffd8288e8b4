"""Counting on each kind of cache."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from django.core.cache import caches
from django.db import connections

from instance_lookup.cache.health import CACHE_SKIPPED
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.push.limits import LIMITS, Limits
from instance_lookup.testing import faulty_cache
from tests.support.monotonic import Monotonic
from tests.support.webhook import NOW

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer


def test_count(alias: str) -> None:
    """Each cache counts, from one on, each key for itself."""
    cache = key_values[alias]
    assert [cache.count("a", 60), cache.count("a", 60), cache.count("b", 60)] == [1, 2, 1]


def test_count_of_threads(alias: str, cache_kind_loses: bool) -> None:
    """Where a cache counts in one step, threads that come together lose nothing."""
    found: list[int] = []
    barrier = threading.Barrier(4)

    def count() -> None:
        barrier.wait(30)
        found.extend(key_values[alias].count("a", 60) for _ in range(25))
        connections.close_all()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 100
    if not cache_kind_loses:
        assert sorted(found) == list(range(1, 101))


@pytest.fixture
def cache_kind_loses(alias: str) -> bool:
    """Whether a kind of cache reads and writes to count, and so may lose some."""
    return type(caches[alias]).__name__ in {"DatabaseCache", "FileBasedCache"}


@pytest.mark.extras
def test_counts_end(redis_server: RedisServer) -> None:
    """No count stays in Redis for ever."""
    from tests.support.caches import use_cache

    with use_cache("redis", redis_url=redis_server.url(), prefix="ends") as alias:
        key_values[alias].count("a", 60)
        key_values[alias].count("a", 90)
        assert redis_server.command("TTL", caches[alias].make_key("a")) in {b":90", b":89"}


@pytest.mark.parametrize(
    ("one", "other", "is_one_source"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("", "", True),
        ("unknown", "", False),
        ("\udc80", "\udc81", False),
    ],
)
def test_source(one: str, other: str, is_one_source: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address is a source, in IPv6 the network that one sender has."""
    monkeypatch.setitem(LIMITS, "unsigned", 1)
    limits = Limits("default")
    assert limits.wait("unsigned", one, NOW) == 0
    assert bool(limits.wait("unsigned", other, NOW)) is is_one_source


def test_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each minute has its own count; what there is to wait is the rest of the minute."""
    monkeypatch.setitem(LIMITS, "signed", 1)
    limits, minute = Limits("default"), NOW - NOW % 60
    moments = [minute, minute + 1, minute + 59.9, minute + 60]
    assert [limits.wait("signed", "", moment) for moment in moments] == [0, 59, 1, 0]


def test_flood_costs_the_cache_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a source is over its limit, this process knows that without the cache."""
    monkeypatch.setitem(LIMITS, "unsigned", 2)
    with faulty_cache() as faults:
        limits = Limits("default")
        for _ in range(20):
            limits.wait("unsigned", "192.0.2.1", NOW)
        assert faults.calls.count("get") + faults.calls.count("incr") == 3


def test_cache_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that cannot count limits no one, and a flood waits for it once, until it is back."""
    monkeypatch.setitem(LIMITS, "unsigned", 1)
    with faulty_cache() as faults:
        limits = Limits("default")
        clock = Monotonic(limits)
        faults.fail()
        before = len(faults.calls)
        assert not any(limits.wait("unsigned", "", NOW) for _ in range(100))
        assert len(faults.calls) == before + 1
        faults.recover()
        assert not any(limits.wait("unsigned", "", NOW) for _ in range(100))
        clock.now += CACHE_SKIPPED
        assert [bool(limits.wait("unsigned", "", NOW)) for _ in range(3)] == [False, True, True]
