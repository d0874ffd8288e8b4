"""404s that the cache did not take, and said nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.test import override_settings

from instance_lookup import ConfigServiceUnavailable, InstanceNotFound, InstanceResolver
from tests.support.lookups import HookedCache, Service, asks, hooked_caches

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def resolver(service: Service) -> Iterator[InstanceResolver]:
    with override_settings(CACHES=hooked_caches()):
        yield InstanceResolver(config_service_backend=service, retry_interval=0.001)


def fail() -> None:
    raise ConfigServiceUnavailable("down")


def swallow(*args: object) -> object:
    """Interrupt a cache that swallows its failures, and has only them."""
    return HookedCache.SKIP


def test_copy_is_not_served_after_a_404_that_was_swallowed(
    resolver: InstanceResolver, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache goes down while the service is asked, and comes back with the copy."""
    resolver.resolve(asks())
    resolver.cache.expire("acme")
    del service.instances["acme"]
    with monkeypatch.context() as patch:
        service.meanwhile = lambda: patch.setattr(HookedCache, "hook", staticmethod(swallow))
        with pytest.raises(InstanceNotFound):
            resolver.resolve(asks())
    service.meanwhile = fail

    with pytest.raises((InstanceNotFound, ConfigServiceUnavailable)):
        resolver.resolve(asks())
