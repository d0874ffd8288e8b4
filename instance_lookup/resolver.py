"""The steps of a lookup: who asks, for which instance, where it comes from, may they have it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from msgspec import structs

from instance_lookup import events
from instance_lookup.access import Allows, authorize, bind, verdict
from instance_lookup.backends.base import describe
from instance_lookup.cache.instance_cache import InstanceCache
from instance_lookup.cache.kinds import PROJECT
from instance_lookup.cache.tiers import TieredCache
from instance_lookup.concurrency import pools
from instance_lookup.concurrency.deferred import NotLoaded
from instance_lookup.concurrency.pools import in_executor, in_pool
from instance_lookup.concurrency.steps import Steps, adrive, asking, drive
from instance_lookup.conf import Options, apply_options, build
from instance_lookup.context import LookupContext
from instance_lookup.exceptions import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
)
from instance_lookup.fetching import notices
from instance_lookup.fetching.concealing import ConcealingLoader
from instance_lookup.fetching.failures import build_denial, denied_by, rename
from instance_lookup.fetching.listing import list_ids
from instance_lookup.fetching.loader import Loader
from instance_lookup.fetching.projects import Projects
from instance_lookup.fetching.refusals import lets_in
from instance_lookup.fetching.service_health import ServiceHealth
from instance_lookup.identifiers import InstanceRef, ProjectRef, Ref
from instance_lookup.resilience.deadline import Deadline
from instance_lookup.selection import Selector
from instance_lookup.signals import instance_resolved, instance_stale_served
from instance_lookup.types import CacheStats, Grant, InstanceConfig, LookupResult, Source
from instance_lookup.users import LookupUser

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import timedelta

    from instance_lookup.cache.reading import Reading
    from instance_lookup.fetching.fetcher import Found


class _Held(NamedTuple):
    """What the cache of all processes held when a lookup began."""

    ref: Ref
    deadline: Deadline
    reading: Reading[InstanceConfig]


class InstanceResolver:
    """Resolves contexts to configurations, as the settings and ``options`` say.

    Options are the names of the settings in lower case. A resolver keeps connections and
    statistics: make few, or let :func:`get_resolver` make the one that the process needs.

    ``user_context`` and ``admin_groups`` are for the project alone to set: they say who a user
    is, and a context comes with its user.
    """

    def __init__(self, **options: Unpack[Options]) -> None:
        """Raise ``ImproperlyConfigured`` for options or settings that are wrong. Does no I/O."""
        self.settings = settings = apply_options(options)
        self.cache = InstanceCache.from_settings(settings)
        self.backend = build(settings.config_service_backend, settings)
        self.policy = bind(build(settings.access_policy, settings), settings)
        self.identifiers = tuple(build(identifier, settings) for identifier in settings.identifiers)
        self.selector = Selector(self.identifiers, settings)
        self.vary_headers = self.selector.headers
        """The request headers that may decide the instance."""
        tiers, counters = self.cache.tiers, self.cache.counters
        self._count = counters.add
        health = self.service_health = ServiceHealth(settings, counters, describe(self.backend))
        projects = replace(PROJECT, points_to=settings.id_regex)
        self.projects = TieredCache(projects, settings, counters, tiers.health)
        loader = ConcealingLoader if settings.conceal_denied else Loader
        self._load_project = loader(self.projects, self.backend.get_project, settings, health)
        self._is_theirs = partial(lets_in, self.policy)
        self._load_config = loader(
            tiers, self.backend.get_instance, settings, health, self._is_theirs
        )
        self.loaders = self._load_config, self._load_project
        self._projects = Projects(self._load_project, self._load_config, self._is_theirs)

    def resolve(self, context: LookupContext, ref: Ref | None = None) -> LookupResult:
        """Return the configuration that ``context`` may have.

        ``ref`` is what the context names, where the caller has asked :attr:`selector` already.
        Raises ``InvalidContext``, ``AccessDenied``, ``InstanceNotFound`` or
        ``ConfigServiceUnavailable``, within ``CONFIG_SERVICE_TIMEOUT``.
        """
        held = self._resolve_held(context, ref, may_block=not events.watchers)
        if isinstance(held, LookupResult):
            return held
        return drive(self._steps(context, ref, held))

    async def aresolve(self, context: LookupContext, ref: Ref | None = None) -> LookupResult:
        """Return what :meth:`resolve` does, without blocking the event loop. Raises as that."""
        held = self._resolve_held(context, ref, may_block=False)
        if isinstance(held, LookupResult):
            return held
        return await adrive(self._steps(context, ref, held))

    def refresh(self, instance_id: str) -> LookupResult:
        """Fetch a configuration for the site itself, even if the cache has it, and store it.

        Raises ``InvalidContext``, ``InstanceNotFound``, ``AccessDenied`` or
        ``ConfigServiceUnavailable``.
        """
        context = LookupContext(user=LookupUser.service(), instance_id=instance_id)
        ref = self.selector.check(InstanceRef(instance_id))
        try:
            found = self._load_config.refresh(instance_id, context, self._deadline())
        except (InstanceNotFound, ConfigServiceUnavailable) as exc:
            raise rename(ref, exc) from exc.__cause__
        return _result(found, authorize(context.user, found.document, self.policy))

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
        """Store the given configs; return how many. Raise ``CacheError``."""
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

    def _resolve_held(
        self, context: LookupContext, ref: Ref | None, *, may_block: bool
    ) -> LookupResult | _Held | None:
        """Return the answer if it is a fresh hit, of a user who may have it.

        This is the short way of :meth:`_resolve`, which handles all other cases: without signals,
        and without generators, which would take a third of its time. Where it ``may_block`` it
        looks beyond this process as well, and returns what it read if that is no answer.
        """
        user = context.user
        if instance_resolved.receivers or user.is_anonymous:
            return None
        loader, held = self._load_config, None
        try:
            asked = context.instance_id
            if asked is None or context.project_id is not None or context.request is not None:
                ref = ref or self.selector.select(context)
                if type(ref) is not InstanceRef or ref.within is not None:
                    return None
                asked = ref.instance_id
            elif not self.selector.is_id(asked):
                return None
            entry = loader.read_near(asked, user)
            if entry is None and may_block and not self.settings.conceal_denied:
                held = _Held(InstanceRef(asked), self._deadline(), loader.read(asked))
                entry = loader.hit(asked, user, held.reading)
            if entry is None or entry.document is None:
                return held
            grant = authorize(user, entry.document, self.policy)
        except (NotLoaded, InstanceLookupError):
            return held
        self._count("near_hits" if held is None else "hits")
        remaining = max(0.0, entry.cached_at + entry.ttl - time())
        return LookupResult(entry.document, Source.CACHE, entry.cached_at, remaining, grant)

    def _steps(
        self, context: LookupContext, ref: Ref | None, held: _Held | None
    ) -> Steps[LookupResult]:
        steps = self._resolve(context, ref, held)
        return notices.watched(steps, self.settings.stale_max_age) if events.watchers else steps

    def _resolve(
        self, context: LookupContext, ref: Ref | None, held: _Held | None
    ) -> Steps[LookupResult]:
        user = context.user
        if user.is_anonymous and not self.settings.allow_anonymous:
            notices.tell_anonymous(context)
            raise AccessDenied("Anonymous callers may not use any instance.")
        context = context.with_metadata()
        deadline, reading = self._deadline(), None
        if held is not None:
            ref, deadline, reading = held
        else:
            try:
                ref = ref or self.selector.select(context)
            except NotLoaded as missing:
                ref = yield from asking(partial(self.selector.select, context), missing)
        try:
            found, grant = yield from self._authorized(ref, context, deadline, reading)
            # After the check: only users who may have the instance learn what its projects are.
            if type(ref) is InstanceRef and ref.within is not None:
                mapped = yield from self._projects.agree(
                    ref.within.project_id, ref.instance_id, context, deadline
                )
                found = structs.replace(found, ahead=found.ahead + mapped.ahead)
        except AccessDenied as exc:
            yield from notices.tell_denied(by := denied_by(exc), context, ref)
            raise build_denial(ref, by, conceal=self.settings.conceal_denied) from None
        except (InstanceNotFound, ConfigServiceUnavailable) as exc:
            raise rename(ref, exc) from exc.__cause__
        result = _result(found, grant)
        for begin in found.ahead:
            begin()
        if instance_resolved.receivers or instance_stale_served.receivers:
            yield from notices.tell_resolved(context, result)
        return result

    def _authorized(
        self,
        ref: Ref,
        context: LookupContext,
        deadline: Deadline,
        reading: Reading[InstanceConfig] | None,
    ) -> Steps[tuple[Found[InstanceConfig], Grant]]:
        """Return the configuration, and the proof that the user may have it."""
        user = context.user
        loader: Loader[Any]
        if isinstance(ref, InstanceRef):
            asked, loader = ref.instance_id, self._load_config
        else:
            asked, loader = ref.project_id, self._load_project
        try:
            found = yield from self._load(ref, context, deadline, reading)
            try:
                grant = authorize(user, found.document, self.policy)
            except (NotLoaded, AccessDenied) as exc:
                grant = yield from notices.judge(exc, context, ref, self.policy, found.document)
        except (InstanceNotFound, AccessDenied):
            loader.settle(user, asked, theirs=False)
            raise
        loader.settle(user, asked, theirs=True)
        return found, grant

    def _load(
        self,
        ref: Ref,
        context: LookupContext,
        deadline: Deadline,
        reading: Reading[InstanceConfig] | None,
    ) -> Steps[Found[InstanceConfig]]:
        """Return what is asked for; a test's override answers here instead."""
        if isinstance(ref, InstanceRef):
            asked = ref.instance_id
            return self._load_config.load(asked, context, deadline, self._is_theirs, reading)
        return self._projects.load(ref.project_id, context, deadline)

    def _deadline(self) -> Deadline:
        return Deadline.after(self.settings.config_service_timeout)


def _result(found: Found[InstanceConfig], grant: Grant) -> LookupResult:
    return LookupResult(found.document, found.source, found.cached_at, found.ttl_remaining, grant)
