"""The lease on Redis and Valkey, as two processes see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches

from instance_lookup.cache.entry import Generation
from instance_lookup.cache.health import CacheHealth
from instance_lookup.cache.keys import lease_key
from tests.support.leases import INSTANCE, Lease
from tests.support.near import ALIAS, BACKENDS, near_caches, near_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.extras

UNDER = Generation("g1", "g2")


@pytest.fixture(params=BACKENDS)
def health(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[CacheHealth]:
    """The health of a cache with its backend's default serializer."""
    config: dict[str, Any] = near_config(request.param, redis_server.url())
    options = config.get("OPTIONS", {})
    config["OPTIONS"] = {k: v for k, v in options.items() if k.lower() != "serializer"}
    with near_caches(instances=config):
        yield CacheHealth(ALIAS)
        caches[ALIAS].clear()


def lease(health: CacheHealth) -> Lease:
    return Lease("acme", UNDER, health=health, cache_alias=ALIAS)


def test_lease_is_held_by_one_process(health: CacheHealth) -> None:
    """The others see that it is, until it is given back."""
    ours, theirs = lease(health), lease(health)
    assert (theirs.is_free(), theirs.take()) == (True, True)
    assert (ours.take(), ours.is_free()) == (False, False)
    theirs.release()
    assert (ours.is_free(), ours.take()) == (True, True)
    assert not health.log.failing


def test_lease_that_was_taken_through_the_serializer(health: CacheHealth) -> None:
    """A lease taken by a process of the previous release counts as held."""
    caches[ALIAS].set(lease_key(INSTANCE, "acme", UNDER), "taken", 60)
    ours = lease(health)
    assert (ours.take(), ours.is_free()) == (False, False)
    assert not health.log.failing


def test_lease_that_cannot_be_read_is_held(health: CacheHealth) -> None:
    """A lease with an unreadable value counts as held by another process."""
    caches[ALIAS].set(lease_key(INSTANCE, "acme", UNDER), {"an": object}, 60)
    ours = lease(health)
    assert (ours.take(), ours.is_free()) == (False, False)
    assert not health.log.failing
