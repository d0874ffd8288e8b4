"""docs/explanation/generations.md: what undoes an invalidation, and what mends that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.test import override_settings

from instance_lookup import InstanceResolver, Source
from tests.support.lookups import Service, acme, bucket

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"


@pytest.fixture(autouse=True)
def _cache() -> Iterator[None]:
    place = {"BACKEND": LOCMEM, "LOCATION": "generations"}
    with override_settings(CACHES={"default": place}):
        yield
        caches["default"].clear()


def test_cache_that_goes_back_in_time_serves_what_was_invalidated() -> None:
    """As the page warns: a restored dump has the old generation, and invalidating all mends it."""
    service, cache = Service(), caches["default"]
    resolver = InstanceResolver(config_service_backend=service, near_cache_size=0)
    assert bucket(resolver) == ("first", Source.SERVICE)
    held: Any = vars(cache)
    dump = {name: dict(held[name]) for name in ("_cache", "_expire_info")}

    service.instances["acme"] = acme("second")
    resolver.invalidate_cache("acme")
    assert bucket(resolver) == ("second", Source.SERVICE)
    for name, content in dump.items():
        held[name].clear()
        held[name].update(content)
    assert bucket(resolver) == ("first", Source.CACHE)

    resolver.invalidate_all_caches()
    assert bucket(resolver) == ("second", Source.SERVICE)
