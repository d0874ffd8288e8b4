"""What is done to the shared cache, as it is told to those who watch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from django.core.cache import caches

from instance_lookup import CacheError, InstanceCache, InstanceResolver
from instance_lookup.events import CacheOperation, Invalidation, Rejection
from tests.support.lookups import DOWN, Clock, Service, Twin, asks, hooks
from tests.support.near import ALIAS, near_caches, near_config, near_resolver, settled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer
    from tests.support.watching import Told


def operations(told: Told) -> list[tuple[str, str]]:
    return [(each.operation, each.outcome) for each in told.of(CacheOperation)]


def broken(verb: str, key: str) -> None:
    raise OSError


def unwritable(verb: str, key: str) -> None:
    if verb != "get":
        raise OSError


def test_miss_write_hit(resolver: InstanceResolver, call: Twin, told: Told) -> None:
    """A miss is told, read again by the fetch, then the write; the next lookup is a hit."""
    call(resolver, "resolve", asks())
    first, told[:] = operations(told), []
    call(resolver, "resolve", asks())
    assert set(first[:-1]) == {("read", "miss")}
    assert first[-1] == ("write", "ok")
    assert operations(told) == [("read", "hit")]


def test_stale_entry(
    resolver: InstanceResolver, call: Twin, told: Told, clock: Clock, service: Service
) -> None:
    """An entry that is no longer fresh is told as stale."""
    call(resolver, "resolve", asks())
    clock.now += 400
    service.failure = DOWN
    told.clear()
    call(resolver, "resolve", asks())
    assert set(operations(told)) == {("read", "stale")}


async def test_reads_of_many(resolver: InstanceResolver, told: Told, service: Service) -> None:
    """Coroutines that share one look are told of one hit each."""
    service.instances["beta"] = {**service.instances["acme"], "instance_id": "beta"}
    both = asks(), asks(instance_id="beta")
    await asyncio.gather(*map(resolver.aresolve, both))
    told.clear()
    await asyncio.gather(*map(resolver.aresolve, both))
    assert operations(told) == [("read", "hit"), ("read", "hit")]


def test_cache_that_is_down(resolver: InstanceResolver, call: Twin, told: Told) -> None:
    """The failure is told once; while the cache is left alone, that is told instead."""
    with hooks(broken):
        call(resolver, "resolve", asks())
        first, told[:] = operations(told), []
        call(resolver, "resolve", asks())
    assert first[0] == ("read", "error")
    assert set(operations(told)) == {("read", "skipped")}


@pytest.mark.usefixtures("refuses_at_once")
def test_cache_that_takes_no_writes(resolver: InstanceResolver, told: Told) -> None:
    """A write that fails is told, and so is one that is not tried."""
    with hooks(lambda verb, key: unwritable(verb, key) if "config" in key else None):
        resolver.resolve(asks())
    assert ("write", "error") in operations(told)
    resolver.cache.tiers.health.failed(OSError())
    told.clear()
    assert not resolver.cache.tiers.health.takes(lambda: None, 0)
    assert operations(told) == [("write", "skipped")]


def test_invalidations(resolver: InstanceResolver, call: Twin, told: Told) -> None:
    """Each invalidation is told with its scope, and as an operation on the cache."""
    call(resolver, "invalidate_cache", "acme")
    call(resolver.cache, "expire", "acme")
    call(resolver, "invalidate_project", "shop")
    call(resolver, "invalidate_all_caches")
    assert [(each.scope, each.origin) for each in told.of(Invalidation)] == [
        ("instance", "here"),
        ("instance", "here"),
        ("project", "here"),
        ("all", "here"),
    ]
    assert operations(told) == [
        ("invalidate", "ok"),
        ("expire", "ok"),
        ("invalidate", "ok"),
        ("invalidate", "ok"),
    ]


def test_invalidation_that_fails(resolver: InstanceResolver, call: Twin, told: Told) -> None:
    """What was not written is no invalidation."""
    with hooks(unwritable), pytest.raises(CacheError):
        call(resolver, "invalidate_cache", "acme")
    assert told.of(Invalidation) == []
    assert operations(told) == [("invalidate", "error")]


def test_entry_that_is_refused(resolver: InstanceResolver, call: Twin, told: Told) -> None:
    """An entry that is none is told as refused, and read as a miss."""
    call(resolver, "resolve", asks())
    caches["default"].set("instance_config:acme", "{}")
    told.clear()
    call(resolver, "resolve", asks())
    assert [each.reason for each in told.of(Rejection)] == ["entry"]
    assert operations(told)[0] == ("read", "miss")


@pytest.mark.extras
def test_invalidation_that_is_heard(redis_server: RedisServer, told: Told) -> None:
    """A process is told what it hears on the channel, of one id and of all."""
    with near_caches(**{ALIAS: near_config("redis", redis_server.url())}):
        resolver = near_resolver()
        settled(resolver)
        InstanceCache(ALIAS).invalidate("acme")
        wait_until(lambda: Invalidation("instance", "heard") in told)
        InstanceCache(ALIAS).invalidate_all()
        wait_until(lambda: Invalidation("all", "heard") in told)
