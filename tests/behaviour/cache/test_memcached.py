"""What is different on memcached: short keys, small values, and clients that keep quiet.

Each test has a real server, see ``tests/support/memcached_server.py``.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches

from instance_lookup import CacheError, InstanceResolver, Source
from instance_lookup.cache.health import CACHE_SKIPPED
from instance_lookup.cache.keys import lease_key
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.cache.shared import SharedTier
from tests.outages.outages import Later, lines
from tests.support.balancer import Balancer
from tests.support.caches import MEMCACHED_KINDS, use_cache
from tests.support.lookups import TWINS, Service, Twin, acme, asks
from tests.support.waiting import within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.memcached_server import MemcachedServer

pytestmark = pytest.mark.extras

LONGEST = "x" * 150
"""The longest id that is its own key; of longer ones there are digests."""
PREFIX = 250 - len(f"::1:project_generation:{LONGEST}")


@pytest.fixture(params=MEMCACHED_KINDS)
def client(request: pytest.FixtureRequest) -> str:
    """Each client of Django's in turn, if it is installed."""
    kind: str = request.param
    if kind == "pylibmc":
        pytest.importorskip("pylibmc", reason="pylibmc is not installed (needs libmemcached-dev)")
    return kind


@contextmanager
def site(client: str, location: str, **config: Any) -> Iterator[InstanceResolver]:
    with use_cache(client, memcached=location) as alias:
        caches.settings[alias] |= config
        yield InstanceResolver(cache_alias=alias, config_service_backend=Service())
