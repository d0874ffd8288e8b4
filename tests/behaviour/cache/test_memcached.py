"""What is different on memcached: short keys, small values, clients that hide errors.

Each test has a real server, see ``tests/support/memcached_server.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from django.core.cache import caches

from instance_lookup import CacheError, InstanceResolver, Source
from instance_lookup.cache.health import CACHE_SKIPPED
from instance_lookup.cache.keys import lease_key
from tests.outages.outages import Later, lines
from tests.support.balancer import Balancer
from tests.support.caches import MEMCACHED_KINDS, use_cache
from tests.support.lookups import TWINS, Service, Twin, acme, asks
from tests.support.waiting import within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.backends.base import Document, NotModified, Query
    from tests.support.memcached_server import MemcachedServer

pytestmark = pytest.mark.extras

TIMEOUT = 1.0
"""Seconds, of each step of a client, see ``tests/support/caches.py``."""
MEGABYTE = 1 << 20
LONGEST = "x" * 150
"""The longest id that is a key as it is; of longer ones there are digests."""
ROOM = 250 - len(f":1:instance_generation:{LONGEST}")
"""Characters of a ``KEY_PREFIX`` with which the key of a generation is as long as it may be."""


@pytest.fixture(params=MEMCACHED_KINDS)
def client(request: pytest.FixtureRequest) -> str:
    """Each client of Django's in turn, if it is installed."""
    kind: str = request.param
    if kind == "pylibmc":
        pytest.importorskip("pylibmc", reason="pylibmc is not installed")
    return kind


class Counting(Service):
    """A service that knows every instance, with a large document for "big"."""

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        size = MEGABYTE if instance_id == "big" else 0
        fields = acme("x" * size, instance_id=instance_id)
        self.instances.setdefault(instance_id, fields)
        return super().get_instance(instance_id, query)


def resolver_on(alias: str) -> InstanceResolver:
    return InstanceResolver(
        cache_alias=alias, config_service_backend=Counting(), instance_id_pattern=".{1,200}"
    )


def service(resolver: InstanceResolver) -> Counting:
    assert isinstance(resolver.backend, Counting)
    return resolver.backend


def source(resolver: InstanceResolver, asked: str = "acme") -> Source:
    return resolver.resolve(asks(instance_id=asked)).source


@pytest.fixture
def resolver(client: str, memcached_server: MemcachedServer) -> Iterator[InstanceResolver]:
    with use_cache(client, memcached=memcached_server.location) as alias:
        yield resolver_on(alias)


@pytest.mark.parametrize("asked", [LONGEST, "x" * 200], ids=["longest", "digest"])
def test_longest_keys(
    client: str, memcached_server: MemcachedServer, caplog: pytest.LogCaptureFixture, asked: str
) -> None:
    """A KEY_PREFIX of 77 characters leaves room for every key: of entries, generations, leases."""
    prefix = uuid4().hex.ljust(ROOM, "p")
    with use_cache(client, memcached=memcached_server.location, prefix=prefix) as alias:
        resolver, leases = resolver_on(alias), []
        tiers = resolver.cache.tiers

        def look() -> None:
            under = tiers.shared.read(asked).generation
            assert under is not None
            leases.append(caches[alias].get(lease_key(tiers.kind, asked, under)))

        service(resolver).meanwhile = look
        assert source(resolver, asked) is Source.SERVICE
        assert source(resolver, asked) is Source.CACHE
        assert resolver.invalidate_cache(asked)
        assert source(resolver, asked) is Source.SERVICE
        resolver.cache.expire(asked)
        assert source(resolver, asked) is Source.SERVICE
        assert resolver.get_cache_stats().errors == 0
    assert len(leases) == 1
    assert leases != [None]
    assert lines(caplog) == []


def test_value_over_a_megabyte(
    resolver: InstanceResolver, refuses_at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    """A value that is too large is served but not cached, and logged once."""
    later = Later(resolver)
    for round_ in range(3):
        assert source(resolver, "big") is Source.SERVICE
        assert source(resolver, f"small-{round_}") is Source.SERVICE
        assert source(resolver, "small-0") is Source.CACHE
        later.passed += 60
    [line] = lines(caplog)
    assert "failed to store 'big'" in line
    assert "takes values of this size" in line


def test_value_of_that_size_is_taken_again(
    resolver: InstanceResolver, refuses_at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    """When a value of that size is stored again, the log says so."""
    source(resolver, "big")
    resolver.cache.tiers.health.takes(lambda: None, MEGABYTE + 1000)
    assert ["works again" in line for line in lines(caplog)] == [False, True]


@pytest.mark.parametrize("twin", TWINS)
def test_hung_server(client: str, own_memcached_server: MemcachedServer, twin: Twin) -> None:
    """One lookup waits for the timeout (three with pylibmc, which hides failed reads), later none.

    An invalidation that the server does not take raises an error; a later one is effective.
    """
    with use_cache(client, memcached=own_memcached_server.location) as alias:
        resolver = resolver_on(alias)
        later = Later(resolver)
        source(resolver)
        own_memcached_server.pause()
        with within(3 * TIMEOUT if client == "pylibmc" else TIMEOUT):
            assert twin(resolver, "resolve", asks()).source is Source.SERVICE
        assert not resolver.cache.tiers.health.breaker.is_closed
        errors = resolver.get_cache_stats().errors
        for asked in ("acme", "other", "third"):
            twin(resolver, "resolve", asks(instance_id=asked))
        assert resolver.get_cache_stats().errors == errors
        with pytest.raises(CacheError):
            twin(resolver, "invalidate_cache", "acme")
        own_memcached_server.resume()
        twin(resolver, "invalidate_cache", "acme")
        later.passed += CACHE_SKIPPED
        assert [source(resolver) for _ in range(2)] == [Source.SERVICE, Source.CACHE]


def test_server_that_ended(
    client: str, own_memcached_server: MemcachedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Lookups go on without it, and use it as soon as it is back: each change is logged once."""
    with use_cache(client, memcached=own_memcached_server.location) as alias:
        resolver = resolver_on(alias)
        later = Later(resolver)
        source(resolver)
        own_memcached_server.kill()
        for _ in range(3):
            assert source(resolver, "other") is not Source.STALE_CACHE
            with pytest.raises(CacheError):
                resolver.invalidate_cache("acme")
            later.passed += CACHE_SKIPPED
        own_memcached_server.start()
        later.passed += CACHE_SKIPPED
        assert [source(resolver) for _ in range(2)] == [Source.SERVICE, Source.CACHE]
    told = ["works again" in line for line in lines(caplog)]
    changes = sum(told)
    assert told == [False] * changes + [True] * changes
    # Reading; with pylibmc, which may hide the first read that fails, writing as well.
    assert 1 <= changes <= (2 if client == "pylibmc" else 1)


def test_forgotten_connection(
    client: str, memcached_server: MemcachedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A reset of an idle one is no outage: what failed is done once more on another."""
    with Balancer(memcached_server.port) as balancer:
        address = f"127.0.0.1:{balancer.port}"
        with use_cache(client, memcached=address) as alias:
            resolver = resolver_on(alias)
            source(resolver)
            for _ in range(3):
                balancer.forget()
                assert source(resolver) is Source.CACHE
            balancer.forget()
            assert resolver.invalidate_cache("acme")
            assert source(resolver) is Source.SERVICE
            assert resolver.get_cache_stats().errors == 0
            assert balancer.resets  # it took place; pylibmc makes do with fewer than four
    assert lines(caplog) == []
