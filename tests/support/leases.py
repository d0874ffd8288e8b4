"""The lease of one id, as one process sees it, without a fetcher."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from instance_lookup import InstanceConfig
from instance_lookup.cache.health import CacheHealth
from instance_lookup.cache.keys import lease_key
from instance_lookup.cache.kinds import instance_kind
from instance_lookup.conf import build_settings
from instance_lookup.fetching.leased_fetcher import LeasedFetcher

if TYPE_CHECKING:
    from instance_lookup.cache.entry import Generation
    from instance_lookup.cache.kinds import Kind

INSTANCE = instance_kind(InstanceConfig)


class Lease:
    """The lease of the id ``asked`` under a generation, in a process of its own."""

    def __init__(
        self,
        asked: str,
        under: Generation,
        *,
        kind: Kind[Any] = INSTANCE,
        health: CacheHealth | None = None,
        **options: Any,
    ) -> None:
        settings, fetcher = build_settings(options), None
        cache: Any = SimpleNamespace(health=health or CacheHealth(settings.cache_alias))
        self._by = LeasedFetcher[Any](fetcher, cache, settings)  # type: ignore[arg-type]
        self._key = lease_key(kind, asked, under)

    def take(self) -> bool:
        return self._by.take(self._key)

    def is_free(self) -> bool:
        return self._by.is_free(self._key)

    def release(self) -> None:
        self._by.release(self._key)
