"""The cache of configurations, for management and tests. It checks no permissions.

Views use the resolver, which checks that the user may have the config.
"""

from __future__ import annotations

import logging
from time import time
from typing import TYPE_CHECKING

from instance_lookup.cache.blocks import blocked, end_of, moment
from instance_lookup.cache.entry import Entry, Freshness, Generation, pack
from instance_lookup.cache.health import CacheHealth
from instance_lookup.cache.kinds import encode_document, instance_kind
from instance_lookup.cache.stats import Counters
from instance_lookup.cache.tiers import TieredCache
from instance_lookup.concurrency.pools import in_executor
from instance_lookup.conf import Settings, apply_options
from instance_lookup.conf.validators import Seconds, complain
from instance_lookup.exceptions import CacheError, InvalidContext
from instance_lookup.signals import instance_invalidated
from instance_lookup.types import CacheEntry, CacheStats, InstanceConfig, Source

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

logger = logging.getLogger("instance_lookup")


class InstanceCache:
    """The configurations in one cache alias.

    Methods raise ``CacheError`` when the backend fails and ``InvalidContext`` for a malformed id.
    Each method that does I/O has an async twin with ``a`` before its name.
    """

    def __init__(
        self, alias: str = "default", ttl: float = 300, stale_max_age: float = 3600
    ) -> None:
        """Open the cache ``alias``.

        Entries are fresh for ``ttl`` seconds, and may be served stale until they are
        ``stale_max_age`` seconds old. Raises ``ImproperlyConfigured`` for values that are wrong.
        """
        self._setup(
            apply_options({"cache_alias": alias, "cache_ttl": ttl, "stale_max_age": stale_max_age})
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> InstanceCache:
        """Open the cache that the settings describe."""
        cache = cls.__new__(cls)
        cache._setup(settings)  # noqa: SLF001  # its own class
        return cache

    def _setup(self, settings: Settings) -> None:
        self._settings = settings
        self.counters = Counters()
        self.tiers = TieredCache(
            instance_kind(settings.load("config_class")),
            settings,
            self.counters,
            CacheHealth(settings.cache_alias),
        )

    def get(self, instance_id: str, allow_stale: bool = False) -> CacheEntry | None:  # noqa: FBT001, FBT002
        """Return the entry of an instance if it is fresh, or stale and ``allow_stale``."""
        entry = self.tiers.shared.read(self._checked(instance_id)).entry
        found = _as_cache_entry(entry)
        if found is None or (found.source is Source.STALE_CACHE and not allow_stale):
            self.counters.add("misses")
            return None
        self.counters.add("hits" if found.source is Source.CACHE else "stale_hits")
        return found

    def has(self, instance_id: str) -> bool:
        """Tell whether a fresh entry is there, without counting it as a hit or miss."""
        entry = self.tiers.shared.read(self._checked(instance_id)).entry
        return (
            entry is not None and entry.document is not None and entry.freshness is Freshness.FRESH
        )

    def generation(self, instance_id: str) -> str:
        """Return the generation for :meth:`set`; read it *before* you fetch the config to set.

        Raises ``InstanceBlocked`` for an instance that is blocked: nothing can be stored.
        """
        reading = self.tiers.shared.read(self._checked(instance_id))
        if reading.blocked_until:
            raise blocked(instance_id, reading.blocked_until)
        if (generation := reading.generation) is None:
            raise CacheError(
                f"The cache {self._settings.cache_alias!r} keeps no generation of {instance_id!r}:"
                " it keeps nothing at all, so nothing can be stored.",
                instance_id=instance_id,
            )
        return str(generation)

    def set(
        self,
        instance_id: str,
        config: InstanceConfig,
        ttl: float | None = None,
        *,
        generation: str | None = None,
    ) -> None:
        """Store ``config``; without ``generation``, an invalidation since you fetched it is undone.

        It is stored for ``instance_id``, and fresh for ``ttl`` seconds from now; ``None``: for the
        ``ttl`` of this cache. ``generation`` is what :meth:`generation` returned before ``config``
        was fetched. Raises ``ValueError`` for a config of another
        instance, and for a malformed ``ttl`` or ``generation``; ``InstanceBlocked`` for an instance
        that is blocked.
        """
        if config.instance_id != instance_id:
            raise ValueError(f"the config is of {config.instance_id!r}, not of {instance_id!r}")
        ttl = self._settings.cache_ttl if ttl is None else ttl
        if complaint := complain(ttl, Seconds):
            raise ValueError(f"ttl {complaint}")
        stamp = self.generation(instance_id) if generation is None else generation
        packed = pack(
            self.tiers.kind,
            self._checked(instance_id),
            encode_document(config),
            generation=Generation.parse(stamp),
            cached_at=time(),
            ttl=ttl,
            etag=None,
        )
        if end := self.tiers.shared.block_of(instance_id):
            raise blocked(instance_id, end)
        self.tiers.write(instance_id, packed)

    def expire(self, instance_id: str) -> None:
        """Have the Config Service asked before the entry is served again: it has changed."""
        self.tiers.expire(self._checked(instance_id))
        instance_invalidated.send_robust(type(self), instance_id=instance_id, expired=True)

    def invalidate(self, instance_id: str) -> bool:
        """Never serve the entry again, nor what is being fetched; tell whether there was one."""
        return self._invalidate(self._checked(instance_id))

    def _invalidate(self, instance_id: str, until: float | None = None) -> bool:
        reached = self.tiers.invalidate(instance_id, until)
        if reached:
            self.counters.add("evictions")
        instance_invalidated.send_robust(type(self), instance_id=instance_id, expired=False)
        return reached

    def invalidate_all(self) -> None:
        """Never serve any entry again, of instances or projects, nor what is being fetched."""
        self.tiers.invalidate_all()
        instance_invalidated.send_robust(type(self), instance_id=None, expired=False)

    def block(self, instance_id: str, duration: float | timedelta) -> float:
        """Refuse an instance to all users for ``duration`` (seconds); return its end (Unix time).

        Owner and admins are refused as well, whatever the Config Service says. Another block, or
        :meth:`unblock`, ends it earlier; an invalidation does not. Raises ``ValueError`` for a
        ``duration`` that is not from 1 second to 366 days.
        """
        asked, end = self._checked(instance_id), end_of(duration, time())
        self._invalidate(asked, end)
        logger.warning(
            "Instance %r is blocked until %s: no user gets it, whatever the Config Service says."
            " 'invalidate_instance_cache --unblock' lifts the block.",
            asked,
            moment(end),
        )
        return end

    def unblock(self, instance_id: str) -> bool:
        """Lift the block of an instance; tell whether there was one."""
        asked = self._checked(instance_id)
        if not self.tiers.shared.block_of(asked):
            return False
        self._invalidate(asked, 0.0)
        logger.warning(
            "The block of instance %r is lifted: users get what the Config Service gives out.",
            asked,
        )
        return True

    def warm(self, configs: Iterable[InstanceConfig]) -> int:
        """Store the given configs, each as :meth:`set` without ``generation``; return how many.

        So an invalidation since they were fetched is undone. Raises as that.
        ``instance_lookup.warming.warm`` fetches them, and does not undo one.
        """
        stored = 0
        for stored, config in enumerate(configs, 1):  # noqa: B007
            self.set(config.instance_id, config)
        return stored

    @property
    def stats(self) -> CacheStats:
        """The counts since the start, or since :meth:`reset_stats`."""
        return self.counters.read()

    def reset_stats(self) -> None:
        """Count from zero."""
        self.counters.reset()

    async def aget(self, instance_id: str, allow_stale: bool = False) -> CacheEntry | None:  # noqa: FBT001, FBT002
        """Return what :meth:`get` does, without blocking the event loop. Raises as that."""
        return await in_executor(self.get, instance_id, allow_stale)

    async def ahas(self, instance_id: str) -> bool:
        """Return what :meth:`has` does, without blocking the event loop. Raises as that."""
        return await in_executor(self.has, instance_id)

    async def ageneration(self, instance_id: str) -> str:
        """Return what :meth:`generation` does, without blocking the event loop. Raises as that."""
        return await in_executor(self.generation, instance_id)

    async def aset(
        self,
        instance_id: str,
        config: InstanceConfig,
        ttl: float | None = None,
        *,
        generation: str | None = None,
    ) -> None:
        """Store ``config`` for ``instance_id``, without blocking the event loop.

        It is fresh for ``ttl`` seconds. ``generation`` is what :meth:`ageneration` returned before
        ``config`` was fetched. Both may be left out, see :meth:`set`, which this raises as.
        """
        await in_executor(self.set, instance_id, config, ttl, generation=generation)

    async def aexpire(self, instance_id: str) -> None:
        """Expire an entry like :meth:`expire`, without blocking the event loop. Raises as that."""
        await in_executor(self.expire, instance_id)

    async def ainvalidate(self, instance_id: str) -> bool:
        """Return what :meth:`invalidate` does, without blocking the event loop. Raises as that."""
        return await in_executor(self.invalidate, instance_id)

    async def ainvalidate_all(self) -> None:
        """Invalidate all like :meth:`invalidate_all`, without blocking the event loop."""
        await in_executor(self.invalidate_all)

    async def ablock(self, instance_id: str, duration: float | timedelta) -> float:
        """Block an instance like :meth:`block`, without blocking the event loop. Raises as that."""
        return await in_executor(self.block, instance_id, duration)

    async def aunblock(self, instance_id: str) -> bool:
        """Return what :meth:`unblock` does, without blocking the event loop. Raises as that."""
        return await in_executor(self.unblock, instance_id)

    async def awarm(self, configs: Iterable[InstanceConfig]) -> int:
        """Store configs like :meth:`warm`, without blocking the event loop. Raises as that."""
        return await in_executor(self.warm, configs)

    def _checked(self, instance_id: object) -> str:
        if isinstance(instance_id, str) and self._settings.id_regex.fullmatch(instance_id):
            return instance_id
        raise InvalidContext(f"{instance_id!r} is not a valid instance id.")


def _as_cache_entry(entry: Entry[InstanceConfig] | None) -> CacheEntry | None:
    if entry is None or entry.document is None:
        return None
    return CacheEntry(
        config=entry.document,
        cached_at=entry.cached_at,
        ttl=entry.ttl,
        generation=entry.generation,
        etag=entry.etag,
        source=Source.CACHE if entry.freshness is Freshness.FRESH else Source.STALE_CACHE,
        ttl_remaining=entry.ttl_remaining(time()),
    )
