"""Caches that fail, keep nothing, or are heard, with ``ENCRYPTION_KEYS``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from instance_lookup import CacheError, InstanceResolver, Source
from instance_lookup.cache.codec import new_encryption_key
from instance_lookup.testing import faulty_cache
from tests.support.lookups import (
    Clock,
    HookedCache,
    Service,
    Twin,
    acme,
    asks,
    bucket,
    hooked_caches,
    hooks,
)
from tests.support.near import ALIAS, is_sure, near_caches, near_config
from tests.support.sealing import KEY, OWN, Writer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.extras


def site(**options: Any) -> InstanceResolver:
    return InstanceResolver(
        **{"config_service_backend": Service(), "encryption_keys": [KEY], **options}
    )


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("invalidate", ["acme"]),
        ("expire", ["acme"]),
        ("invalidate_all", []),
        ("block", ["acme", 60]),
        ("unblock", ["acme"]),
    ],
)
def test_write_that_is_swallowed(verb: str, args: list[Any], call: Twin) -> None:
    """A change that the cache did not keep is a ``CacheError``."""
    with override_settings(CACHES=hooked_caches()):
        resolver = site()
        bucket(resolver)
        if verb == "unblock":
            resolver.cache.block("acme", 60)
        with (
            hooks(lambda verb, key: HookedCache.SKIP if verb == "set" else None),
            pytest.raises(CacheError, match="did not keep"),
        ):
            call(resolver.cache, verb, *args)


def test_cache_that_keeps_nothing(call: Twin) -> None:
    """With ``DummyCache`` nothing is stored, and nothing fails, as without keys."""
    dummy = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    with override_settings(CACHES=dummy):
        resolver = site()
        assert call(resolver, "resolve", asks()).source is Source.SERVICE
        assert call(resolver.cache, "get", "acme") is None
        call(resolver.cache, "invalidate", "acme")
        assert call(resolver, "resolve", asks()).source is Source.SERVICE


def test_faulty_cache_has_the_keys_of_the_one_behind() -> None:
    """What is sealed before faults begin opens while they go on, and afterwards."""
    caches = hooked_caches()
    caches["default"]["KEY_PREFIX"] = "mysite"
    with override_settings(CACHES=caches):
        assert bucket(site()) == ("first", Source.SERVICE)
        with faulty_cache():
            assert bucket(site()) == ("first", Source.CACHE)
        assert bucket(site()) == ("first", Source.CACHE)


def test_cache_that_is_down(call: Twin) -> None:
    """While the cache is down its answers are the service's; a copy is served again afterwards."""
    with faulty_cache() as faults:
        resolver = site(encryption_keys=[new_encryption_key()])
        call(resolver, "resolve", asks())
        faults.fail()
        assert call(resolver, "resolve", asks()).source is Source.SERVICE
        with pytest.raises(CacheError):
            call(resolver.cache, "invalidate", "acme")
        faults.recover()


def test_replay_where_it_was_heard(redis_server: RedisServer, clock: Clock) -> None:
    """By pub/sub a process that does not look learns that what is put back is old."""
    with near_caches(**{ALIAS: near_config("redis", redis_server.url())}):
        service = Service()
        near, acts = (
            site(cache_alias=ALIAS, config_service_backend=service, near_cache_size=size)
            for size in (10, 0)
        )
        bucket(near)
        wait_until(is_sure)
        tokens = near.cache.tiers.shared.tokens
        before = Writer(ALIAS).copy()
        clock.now += 60  # more than the clocks of two machines may differ by
        service.instances["acme"] = acme("second")
        acts.cache.invalidate("acme")
        wait_until(lambda: tokens._newest.heard(OWN) > 0)  # type: ignore[attr-defined]
        Writer(ALIAS).restore(before)
        assert bucket(near) == ("second", Source.SERVICE)
        assert near.get_cache_stats().rejected == 1
