"""A store on a cache that can be interrupted, and what tests do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.test import override_settings

from instance_lookup import InstanceConfig
from instance_lookup.cache.entry import pack
from instance_lookup.cache.kinds import instance_kind
from instance_lookup.cache.shared import SharedTier
from instance_lookup.cache.stats import Counters
from instance_lookup.conf import build_settings
from tests.support.lookups import SECRET, HookedCache, hooked_caches

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from instance_lookup.cache.entry import Generation

Store = SharedTier[InstanceConfig]

ENTRY, OWN = "instance_config:acme", "instance_generation:acme"
EVERYTHING, EXPIRY = "instance_generation", "instance_expiry:acme"
BODY = b'{"instance_id": "acme", "api_keys": {"x": "%s"}}' % SECRET.encode()
NOW = 1_800_000_000.0


def make_store(**options: Any) -> Store:
    return SharedTier(instance_kind(InstanceConfig), build_settings(options), Counters())


def provide_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Yield a store on an empty :class:`HookedCache`, at ``NOW`` by the clock."""
    for module in ("shared", "looks", "sealed_tokens", "proofs"):
        monkeypatch.setattr(f"instance_lookup.cache.{module}.time", lambda: NOW)
    HookedCache.lives.clear()
    with override_settings(CACHES=hooked_caches()):
        yield make_store()


def generation(store: Store, asked: str = "acme") -> Generation:
    """Return the generation as read, which there is."""
    found = store.read(asked).generation
    assert found is not None
    return found


def fill(store: Store, body: bytes = BODY, asked: str = "acme") -> None:
    """Store what was just fetched."""
    now = generation(store, asked)
    packed = pack(store.kind, asked, body, generation=now, cached_at=NOW, ttl=300, etag='"e"')
    store.write(asked, packed)


def is_served(store: Store, asked: str = "acme") -> bool:
    return store.read(asked).entry is not None
