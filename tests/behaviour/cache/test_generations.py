"""Invalidation wins every race, on every kind of cache (each rule of the design has its test)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.core.cache import caches
from django.db import connections

from instance_lookup import (
    ConfigServiceUnavailable,
    InstanceNotFound,
    InstanceResolver,
    Source,
)
from tests.support.caches import stored
from tests.support.lookups import DOWN, Clock, Service, acme, asks, bucket
from tests.support.monotonic import Monotonic

OWN = "instance_generation:acme"
EVERYTHING = "instance_generation"
EXPIRY = "instance_expiry:acme"


@pytest.fixture
def other_process(resolver: InstanceResolver, alias: str, service: Service) -> InstanceResolver:
    return InstanceResolver(cache_alias=alias, config_service_backend=service)


@pytest.mark.parametrize("everything", [False, True])
def test_invalidate_during_fetch(
    resolver: InstanceResolver, other_process: InstanceResolver, service: Service, everything: bool
) -> None:
    """An answer that was under way during an invalidation is stored but never served."""

    def change() -> None:
        service.instances["acme"] = acme("second")
        if everything:
            other_process.invalidate_all_caches()
        else:
            other_process.invalidate_cache("acme")

    service.meanwhile = change
    assert bucket(resolver) == ("first", Source.SERVICE)
    assert bucket(other_process) == ("second", Source.SERVICE)
    assert bucket(resolver) == ("second", Source.CACHE)


def test_invalidate_during_fetch_that_fails(
    resolver: InstanceResolver, other_process: InstanceResolver, service: Service, clock: Clock
) -> None:
    """A stale copy that a caller holds is not served once it was invalidated."""
    bucket(resolver)
    clock.now += 300
    service.failure = DOWN
    service.meanwhile = lambda: other_process.invalidate_cache("acme")
    with pytest.raises(ConfigServiceUnavailable):
        resolver.resolve(asks())


def test_invalidate_all_reaches_projects(resolver: InstanceResolver, service: Service) -> None:
    """Invalidating everything ends the mappings of projects too."""
    resolver.resolve(asks(instance_id=None, project_id="shop"))
    resolver.invalidate_all_caches()
    service.calls.clear()
    resolver.resolve(asks(instance_id=None, project_id="shop"))
    assert [method for method, *_ in service.calls] == ["get_project", "get_instance"]


@pytest.mark.parametrize("key", [OWN, EVERYTHING])
def test_generation_evicted(resolver: InstanceResolver, alias: str, key: str) -> None:
    """An absent generation is unknown: minted, and the entry treated as absent. It costs a hit."""
    bucket(resolver)
    caches[alias].delete(key)
    assert bucket(resolver) == ("first", Source.SERVICE)
    assert stored(alias, key) is not None
    assert bucket(resolver) == ("first", Source.CACHE)


@pytest.mark.parametrize("key", [OWN, EVERYTHING])
def test_generation_evicted_during_fetch(
    resolver: InstanceResolver,
    other_process: InstanceResolver,
    service: Service,
    alias: str,
    key: str,
) -> None:
    """A generation that the cache dropped during a fetch is never made the same again."""

    def change() -> None:
        service.instances["acme"] = acme("second")
        other_process.invalidate_cache("acme")
        caches[alias].delete(key)

    service.meanwhile = change
    bucket(resolver)
    assert bucket(other_process) == ("second", Source.SERVICE)


def test_missing_and_older_answer_under_way(
    resolver: InstanceResolver, other_process: InstanceResolver, service: Service, clock: Clock
) -> None:
    """A 200 that began before a 404 does not bring the deleted tenant back, fresh or stale."""

    def delete() -> None:
        del service.instances["acme"]
        with pytest.raises(InstanceNotFound):
            other_process.refresh("acme")  # without waiting for the fetch that it overtakes

    service.meanwhile = delete
    bucket(resolver)
    with pytest.raises(InstanceNotFound):
        other_process.resolve(asks())
    clock.now += 31
    service.failure = DOWN
    with pytest.raises(ConfigServiceUnavailable):
        resolver.resolve(asks())


def test_missing_after_a_copy(
    resolver: InstanceResolver, service: Service, clock: Clock, alias: str
) -> None:
    """A 404 writes a new generation, and is remembered for NEGATIVE_TTL."""
    bucket(resolver)
    before = stored(alias, OWN)
    del service.instances["acme"]
    clock.now += 300
    for _ in range(2):
        with pytest.raises(InstanceNotFound):
            resolver.resolve(asks())
    assert stored(alias, OWN) not in (None, before)
    assert len(service.calls) == 2
    assert resolver.get_cache_stats().negative_hits == 1
    service.instances["acme"] = acme("second")
    clock.now += 30
    assert bucket(resolver) == ("second", Source.SERVICE)
    assert bucket(resolver) == ("second", Source.CACHE)


def test_missing_and_invalidated_meanwhile(
    resolver: InstanceResolver, other_process: InstanceResolver, service: Service
) -> None:
    """A 404 that began before an invalidation is not remembered: it may be the older answer."""
    del service.instances["acme"]

    def create() -> None:
        service.instances["acme"] = acme("first")
        other_process.invalidate_cache("acme")

    service.meanwhile = create
    with pytest.raises(InstanceNotFound):
        resolver.resolve(asks())
    assert bucket(resolver) == ("first", Source.SERVICE)


def test_missing_and_newer_answer(
    resolver: InstanceResolver, other_process: InstanceResolver, service: Service
) -> None:
    """A 404 that began before an invalidation leaves alone what was stored after it."""
    del service.instances["acme"]

    def create() -> None:
        service.instances["acme"] = acme("first")
        other_process.invalidate_cache("acme")
        bucket(other_process)

    service.meanwhile = create
    with pytest.raises(InstanceNotFound):
        resolver.resolve(asks())
    assert bucket(resolver) == ("first", Source.CACHE)


def test_expire_asks_service(resolver: InstanceResolver, service: Service) -> None:
    """After `expire` the service is asked although the copy is young."""
    bucket(resolver)
    resolver.cache.expire("acme")
    service.instances["acme"] = acme("second")
    assert bucket(resolver) == ("second", Source.SERVICE)
    assert bucket(resolver) == ("second", Source.CACHE)


def test_expire_and_not_modified(resolver: InstanceResolver, service: Service) -> None:
    """A 304 renews an expired copy."""
    bucket(resolver)
    resolver.cache.expire("acme")
    assert bucket(resolver) == ("first", Source.SERVICE)
    assert bucket(resolver) == ("first", Source.CACHE)
    assert len(service.calls) == 2


def test_expire_and_failure(resolver: InstanceResolver, service: Service) -> None:
    """An expired copy is served when the service fails, which is asked once a RETRY_INTERVAL."""
    monotonic = Monotonic(resolver)
    bucket(resolver)
    resolver.cache.expire("acme")
    service.failure = DOWN
    assert bucket(resolver) == ("first", Source.STALE_CACHE)
    assert bucket(resolver) == ("first", Source.STALE_CACHE)
    assert len(service.calls) == 2
    monotonic.now += 30
    assert bucket(resolver) == ("first", Source.STALE_CACHE)
    assert len(service.calls) == 3


def test_expire_during_fetch(
    resolver: InstanceResolver, other_process: InstanceResolver, service: Service
) -> None:
    """An answer that was under way when its id was expired is stale at once."""

    def change() -> None:
        service.instances["acme"] = acme("second")
        other_process.cache.expire("acme")

    service.meanwhile = change
    bucket(resolver)
    assert bucket(resolver) == ("second", Source.SERVICE)


def test_expiry_evicted(resolver: InstanceResolver, alias: str) -> None:
    """An entry stored under an expiry mark that the cache has dropped is fresh."""
    resolver.cache.expire("acme")
    bucket(resolver)
    caches[alias].delete(EXPIRY)
    assert bucket(resolver) == ("first", Source.CACHE)


def test_failure_does_not_extend_life(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """Neither a failure nor a read makes an entry younger."""
    bucket(resolver)
    service.failure = DOWN
    for _ in range(11):
        clock.now += 300
        assert bucket(resolver) == ("first", Source.STALE_CACHE)
    clock.now += 300
    with pytest.raises(ConfigServiceUnavailable):
        resolver.resolve(asks())


def test_purged_during_fetch(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    """The age of a stale copy is that at which it is served, not at which it was read."""
    bucket(resolver)
    clock.now += 3599
    service.failure = DOWN

    def tick() -> None:
        clock.now += 1

    service.meanwhile = tick
    with pytest.raises(ConfigServiceUnavailable):
        resolver.resolve(asks())


def test_concurrent_invalidators(resolver: InstanceResolver) -> None:
    """Invalidations that overtake each other are not taken for failed writes."""
    bucket(resolver)
    together = Barrier(4, timeout=10)

    def invalidate() -> None:
        try:
            for _ in range(5):
                together.wait()
                resolver.invalidate_cache("acme")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(invalidate) for _ in range(4)]:
            future.result(timeout=30)
    assert bucket(resolver) == ("first", Source.SERVICE)


def test_invalidate_all_from_nothing(resolver: InstanceResolver) -> None:
    """An empty cache can be invalidated, and used afterwards."""
    resolver.invalidate_all_caches()
    assert resolver.invalidate_cache("acme") is False
    assert bucket(resolver) == ("first", Source.SERVICE)
    assert bucket(resolver) == ("first", Source.CACHE)
