"""A Redis cluster of three nodes, through the client of a cluster that the alias has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from instance_lookup import InstanceNotFound, InstanceResolver, RateLimit, Source
from instance_lookup.cache.health import CACHE_SKIPPED, CacheHealth
from instance_lookup.cache.keys import Keys, lease_key
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.exceptions import InstanceBlocked
from instance_lookup.throttling.counter import get_counter
from tests.outages.cluster import TIMEOUT, Cluster
from tests.outages.outages import Later, lines
from tests.support.leases import Lease
from tests.support.lookups import TWINS, Service, Twin, acme, asks
from tests.support.near import ALIAS, at_hand, near_caches, near_resolver, settled
from tests.support.throttles import taken
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.extras, pytest.mark.full]

NAMES = [f"i{number}" for number in range(40)]
"""So many that their keys are on every node."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def alias(cluster: Cluster) -> Iterator[str]:
    with near_caches(**{ALIAS: cluster.config}):
        yield ALIAS
        key_values[ALIAS]._client.close()  # type: ignore[attr-defined]


def resolver_on(alias: str) -> InstanceResolver:
    service = Service()
    service.instances |= {name: acme("first", instance_id=name) for name in NAMES}
    return InstanceResolver(cache_alias=alias, config_service_backend=service, near_cache_size=0)


@pytest.fixture
def resolver(alias: str) -> InstanceResolver:
    return resolver_on(alias)


def source(resolver: InstanceResolver, asked: str) -> Source:
    return resolver.resolve(asks(instance_id=asked)).source


def test_calls_are_counted_on_every_node(alias: str) -> None:
    """A limit is one key, and its script runs where that is."""
    counter, limit = get_counter(alias), RateLimit(rpm=1, rpm_burst=2)
    assert [taken(counter, limit, 4, instance_id=name) for name in NAMES] == [2] * len(NAMES)


@pytest.mark.parametrize("twin", TWINS)
def test_miss_hit_and_invalidation(resolver: InstanceResolver, twin: Twin) -> None:
    """Hits, misses and invalidations work in each slot of the cluster."""

    def sources() -> set[Source]:
        return {twin(resolver, "resolve", asks(instance_id=name)).source for name in NAMES}

    assert (sources(), sources()) == ({Source.SERVICE}, {Source.CACHE})
    assert all(twin(resolver, "invalidate_cache", name) for name in NAMES)
    assert (sources(), sources()) == ({Source.SERVICE}, {Source.CACHE})
    twin(resolver, "invalidate_all_caches")
    assert sources() == {Source.SERVICE}
    assert resolver.get_cache_stats().errors == 0


@pytest.mark.parametrize("twin", TWINS)
def test_block(resolver: InstanceResolver, twin: Twin) -> None:
    """A block holds in each slot, for other processes as well, until it is lifted."""
    there = resolver_on(resolver.settings.cache_alias)
    for name in NAMES:
        twin(resolver, "block_instance", name, 3600)
        with pytest.raises(InstanceBlocked):
            twin(there, "resolve", asks(instance_id=name))
        assert twin(there, "unblock_instance", name)
        assert source(resolver, name) is Source.SERVICE
    assert resolver.get_cache_stats().errors == there.get_cache_stats().errors == 0


def test_counts(alias: str) -> None:
    """Deliveries to the webhook are counted in each slot."""
    found = [[key_values[alias].count(name, 60) for name in NAMES] for _ in range(2)]
    assert found == [[1] * len(NAMES), [2] * len(NAMES)]


@pytest.mark.parametrize("twin", TWINS)
def test_missing_is_remembered(resolver: InstanceResolver, twin: Twin) -> None:
    """Other processes learn from the cache that an id does not exist."""
    for each in (resolver, resolver, resolver_on(resolver.settings.cache_alias)):
        with pytest.raises(InstanceNotFound):
            twin(each, "resolve", asks(instance_id="nothing"))
        assert each.get_cache_stats().errors == 0
    assert len(resolver.backend.calls) == 1
    assert each.backend.calls == []


def test_lease_is_held_by_one_process(resolver: InstanceResolver) -> None:
    """One process holds the lease; others see that until it is given back."""
    tiers, health = resolver.cache.tiers, CacheHealth(ALIAS)
    under = tiers.shared.read("acme").generation
    assert under is not None
    ours, theirs = (
        Lease("acme", under, kind=tiers.kind, health=health, cache_alias=ALIAS) for _ in range(2)
    )
    assert (theirs.take(), ours.take(), ours.is_free()) == (True, False, False)
    assert key_values[ALIAS].get(lease_key(tiers.kind, "acme", under)) is not None
    theirs.release()
    assert ours.take()
    assert not health.log.failing


def test_invalidation_is_heard(resolver: InstanceResolver) -> None:
    """An invalidation is heard through each node: the nodes pass it on to each other."""
    near = near_resolver(near_cache_size=100)
    settled(near)
    resolver.invalidate_cache("acme")
    wait_until(lambda: at_hand(near) is None)


@pytest.mark.parametrize("outage", ["kill", "pause"])
def test_node_that_is_gone(outage: str, caplog: pytest.LogCaptureFixture) -> None:
    """One lookup of an id with a key there waits, twice the timeout; the service answers for it.

    The others have what they had until then. Then the whole cache is skipped, as in any outage, and
    asked again after five seconds.
    """
    with Cluster() as cluster, near_caches(**{ALIAS: cluster.config}):
        resolver = resolver_on(ALIAS)
        later = Later(resolver)
        assert {source(resolver, name) for name in NAMES} == {Source.SERVICE}
        kind = resolver.cache.tiers.kind
        places = {name: cluster.nodes_of(ALIAS, Keys.of(kind, name)) for name in NAMES}
        shared = cluster.nodes_of(ALIAS, [Keys.of(kind, "acme").everything])
        victim = next(node for node in cluster.nodes[1:] if node.port not in shared)
        hit = [name for name in NAMES if victim.port in places[name]]
        unhit = [name for name in NAMES if name not in hit]
        assert hit
        assert unhit
        getattr(victim, outage)()
        assert {source(resolver, name) for name in unhit} == {Source.CACHE}
        assert lines(caplog) == []
        with within(2 * TIMEOUT):
            assert source(resolver, hit[0]) is Source.SERVICE
        errors = resolver.get_cache_stats().errors
        for name in NAMES:
            source(resolver, name)
        assert resolver.get_cache_stats().errors == errors
        later.passed += CACHE_SKIPPED
        assert {source(resolver, name) for name in unhit} == {Source.CACHE}
        assert ["works again" in line for line in lines(caplog)] == [False, True]
        key_values[ALIAS]._client.close()  # type: ignore[attr-defined]
