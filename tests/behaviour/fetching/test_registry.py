"""One resolver for equal options, a new one for new settings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from instance_lookup import (
    InstanceResolver,
    aresolve_instance,
    get_resolver,
    registry,
    resolve_instance,
)
from instance_lookup.access import IsAdmin, IsOwner
from tests.support.lookups import Service, asks


def test_equal_options_share() -> None:
    """Equal options share a resolver, and thereby its connections and statistics."""
    assert get_resolver() is get_resolver()
    assert get_resolver(cache_ttl=7) is get_resolver(cache_ttl=7)
    assert get_resolver(cache_ttl=7) is not get_resolver()
    assert get_resolver(cache_ttl=300) is get_resolver()


def test_options_made_with_lists() -> None:
    """A policy made with a list is an option like any other."""
    policy, again = (IsOwner() | IsAdmin(["staff"]) for _ in range(2))
    assert get_resolver(access_policy=policy) is get_resolver(access_policy=again)


def test_bad_options() -> None:
    """Options are checked like the settings."""
    with pytest.raises(ImproperlyConfigured, match="CACHE_TTL"):
        get_resolver(cache_ttl=0)


def test_made_once() -> None:
    """Threads that ask for it first at the same time get the same one."""
    together = Barrier(4, timeout=10)

    def get() -> InstanceResolver:
        together.wait()
        return get_resolver(cache_ttl=11)

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(get) for _ in range(4)]
        assert len({id(future.result(timeout=10)) for future in futures}) == 1


@pytest.mark.parametrize("name", ["INSTANCE_LOOKUP", "CACHES"])
def test_override_settings(name: str) -> None:
    """Changed settings make a new resolver."""
    before = get_resolver()
    with override_settings(
        INSTANCE_LOOKUP={"CONFIG_SERVICE_URL": "http://127.0.0.1:9", "CACHE_TTL": 5}
    ):
        assert get_resolver().settings.cache_ttl == 5
    with override_settings(**{name: {"default": {}} if name == "CACHES" else {}}):
        assert registry._resolvers == {}
    assert get_resolver() is not before


def test_resolve_instance() -> None:
    """``resolve_instance`` returns the config alone."""
    service = Service()
    config = resolve_instance(asks(), config_service_backend=service)
    assert config.instance_id == "acme"
    assert async_to_sync(aresolve_instance)(asks(), config_service_backend=service) == config
    assert len(service.calls) == 1


def test_resolver_replaced() -> None:
    """A replacement answers for every other, the innermost first, until it is taken back."""
    one, two = InstanceResolver(), InstanceResolver()
    with registry.replace_resolver(one):
        with registry.replace_resolver(two):
            assert get_resolver() is get_resolver(cache_ttl=9) is two
        assert get_resolver() is one
    assert get_resolver() not in (one, two)
