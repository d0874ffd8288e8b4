"""What a project asks: lookups, and the management of what is cached."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Unpack

from instance_lookup.access import Allows, authorize, bind, verdict
from instance_lookup.backends.base import describe
from instance_lookup.cache.instance_cache import InstanceCache
from instance_lookup.cache.kinds import PROJECT
from instance_lookup.cache.tiers import TieredCache
from instance_lookup.concurrency import pools
from instance_lookup.concurrency.pools import in_executor, in_pool
from instance_lookup.concurrency.steps import adrive, drive
from instance_lookup.conf import apply_options, build, unshown
from instance_lookup.context import LookupContext
from instance_lookup.exceptions import ConfigServiceUnavailable, InstanceNotFound
from instance_lookup.fetching.concealing import ConcealingLoader
from instance_lookup.fetching.failures import rename
from instance_lookup.fetching.listing import list_ids
from instance_lookup.fetching.loader import Loader
from instance_lookup.fetching.refusals import lets_in
from instance_lookup.fetching.service_health import ServiceHealth
from instance_lookup.identifiers import InstanceRef, ProjectRef
from instance_lookup.resolution.lookups import Lookups, build_result
from instance_lookup.resolution.selection import Selector
from instance_lookup.types import LookupResult
from instance_lookup.users import LookupUser

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import timedelta

    from instance_lookup.conf.options import Options
    from instance_lookup.identifiers import Ref
    from instance_lookup.types import CacheStats, InstanceConfig


class InstanceResolver:
    """Resolves contexts to configurations, as the settings and ``options`` say.

    Options are the names of the settings in lower case. A resolver keeps connections and
    statistics: make few, or let :func:`get_resolver` make the one that the process needs.

    ``user_context`` and ``admin_groups`` are for the project alone to set: they say who a user
    is, and a context comes with its user.
    """

    _lookups_class = Lookups

    def __init__(self, **options: Unpack[Options]) -> None:
        """Raise ``ImproperlyConfigured`` for options or settings that are wrong. Does no I/O."""
        options = unshown(options)
        self.settings = settings = apply_options(options)
        self.cache = InstanceCache.from_settings(settings)
        self.backend = build(settings.config_service_backend, settings)
        self.policy = bind(build(settings.access_policy, settings), settings)
        self.identifiers = tuple(build(identifier, settings) for identifier in settings.identifiers)
        self.selector = Selector(self.identifiers, settings)
        self.vary_headers = self.selector.headers
        """The request headers that may decide the instance."""
        tiers, counters = self.cache.tiers, self.cache.counters
        health = self.service_health = ServiceHealth(settings, counters, describe(self.backend))
        projects = replace(PROJECT, points_to=settings.id_regex)
        self.projects = TieredCache(projects, settings, counters, tiers.health)
        loader = ConcealingLoader if settings.conceal_denied else Loader
        self._load_project = loader(self.projects, self.backend.get_project, settings, health)
        is_theirs = partial(lets_in, self.policy)
        self._load_config = loader(tiers, self.backend.get_instance, settings, health, is_theirs)
        self.loaders = self._load_config, self._load_project
        self._lookups = self._lookups_class(
            settings,
            self.selector,
            self.policy,
            *self.loaders,
            is_theirs=is_theirs,
            count=counters.add,
        )
        self._held = self._lookups.held
        # Where denials are concealed, what may be read depends on what was found.
        self._read = None if settings.conceal_denied else self._load_config.read

    def resolve(self, context: LookupContext, ref: Ref | None = None) -> LookupResult:
        """Return the configuration that ``context`` may have.

        ``ref`` is what the context names, where the caller has asked :attr:`selector` already.
        Raises ``InvalidContext``, ``AccessDenied``, ``InstanceNotFound`` or
        ``ConfigServiceUnavailable``, within ``CONFIG_SERVICE_TIMEOUT``.
        """
        held = self._held(context, ref, self._read)
        if isinstance(held, LookupResult):
            return held
        return drive(self._lookups.steps(context, ref, held))

    async def aresolve(self, context: LookupContext, ref: Ref | None = None) -> LookupResult:
        """Return what :meth:`resolve` does, without blocking the event loop. Raises as that."""
        held = self._held(context, ref, None)
        if isinstance(held, LookupResult):
            return held
        return await adrive(self._lookups.steps(context, ref, held))

    def refresh(self, instance_id: str) -> LookupResult:
        """Fetch a configuration for the site itself, even if the cache has it, and store it.

        Raises ``InvalidContext``, ``InstanceNotFound``, ``AccessDenied`` or
        ``ConfigServiceUnavailable``.
        """
        context = LookupContext(user=LookupUser.service(), instance_id=instance_id)
        ref = self.selector.check(InstanceRef(instance_id))
        try:
            found = self._load_config.refresh(instance_id, context, self._lookups.deadline())
        except (InstanceNotFound, ConfigServiceUnavailable) as exc:
            raise rename(ref, exc) from exc.__cause__
        return build_result(found, authorize(context.user, found.document, self.policy))

    async def arefresh(self, instance_id: str) -> LookupResult:
        """Return what :meth:`refresh` does, without blocking the event loop. Raises as that."""
        # Not the pool of the lookups, which this could hold up: it waits for the Config Service.
        return await in_pool(pools.refreshes, self.refresh, instance_id)

    def instance_ids(self) -> Iterator[str]:
        """Yield the ids of all instances, page by page.

        Raise ``ConfigServiceUnavailable``, or ``NotImplementedError`` where there is no list.
        """
        return list_ids(self.backend, self.settings)

    def warm_cache(self, configs: Iterable[InstanceConfig]) -> int:
        """Store the given configs, as :meth:`InstanceCache.warm` does; return how many.

        So an invalidation since they were fetched is undone. Raises ``CacheError``.
        ``instance_lookup.warming.warm`` fetches them, and does not undo one.
        """
        return self.cache.warm(configs)

    async def awarm_cache(self, configs: Iterable[InstanceConfig]) -> int:
        """Store configs like :meth:`warm_cache`, without blocking the event loop."""
        return await self.cache.awarm(configs)

    def invalidate_cache(self, instance_id: str) -> bool:
        """Never serve what was stored or fetched so far; tell if it was. Raise ``CacheError``."""
        return self.cache.invalidate(instance_id)

    async def ainvalidate_cache(self, instance_id: str) -> bool:
        """Return what :meth:`invalidate_cache` does, without blocking the event loop."""
        return await self.cache.ainvalidate(instance_id)

    def block_instance(self, instance_id: str, duration: float | timedelta) -> float:
        """Block an instance like :meth:`InstanceCache.block`; return the Unix time of its end."""
        return self.cache.block(instance_id, duration)

    async def ablock_instance(self, instance_id: str, duration: float | timedelta) -> float:
        """Return what :meth:`block_instance` does, without blocking the event loop."""
        return await self.cache.ablock(instance_id, duration)

    def unblock_instance(self, instance_id: str) -> bool:
        """Lift the block of an instance; tell if there was one. Raise ``CacheError``."""
        return self.cache.unblock(instance_id)

    async def aunblock_instance(self, instance_id: str) -> bool:
        """Return what :meth:`unblock_instance` does, without blocking the event loop."""
        return await self.cache.aunblock(instance_id)

    def invalidate_project(self, project_id: str) -> bool:
        """Forget which instance a project belongs to; tell if known. Raise ``CacheError``."""
        self.selector.check(ProjectRef(project_id))
        return self.projects.invalidate(project_id)

    async def ainvalidate_project(self, project_id: str) -> bool:
        """Return what :meth:`invalidate_project` does, without blocking the event loop."""
        return await in_executor(self.invalidate_project, project_id)

    def invalidate_all_caches(self) -> None:
        """Invalidate every instance and project. Raise ``CacheError``."""
        self.projects.forget(None)
        self.cache.invalidate_all()
        self.projects.forget(None)  # again: one may have been read meanwhile

    async def ainvalidate_all_caches(self) -> None:
        """Invalidate all like :meth:`invalidate_all_caches`, without blocking the event loop."""
        await in_executor(self.invalidate_all_caches)

    def permits(self, policy: Allows, user: LookupUser, config: InstanceConfig) -> bool:
        """Tell whether ``policy``, beside ``ACCESS_POLICY``, lets ``user`` have ``config``."""
        return verdict(bind(policy, self.settings), user, config)

    def get_cache_stats(self) -> CacheStats:
        """Return what the cache did for this resolver."""
        return self.cache.stats
