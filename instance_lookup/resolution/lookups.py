"""The order of things in one lookup: which instance, where it comes from, may the user have it."""

from __future__ import annotations

from functools import partial
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import structs

from instance_lookup import events
from instance_lookup.access import authorize
from instance_lookup.concurrency.deferred import NotLoaded
from instance_lookup.concurrency.steps import asking
from instance_lookup.exceptions import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
)
from instance_lookup.fetching import notices
from instance_lookup.fetching.failures import build_denial, denied_by, rename
from instance_lookup.fetching.projects import Projects
from instance_lookup.identifiers import InstanceRef
from instance_lookup.resilience.deadline import Deadline
from instance_lookup.signals import instance_resolved, instance_stale_served
from instance_lookup.types import InstanceConfig, LookupResult, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.access import Allows
    from instance_lookup.cache.kinds import ProjectMapping
    from instance_lookup.cache.reading import Reading
    from instance_lookup.concurrency.steps import Steps
    from instance_lookup.conf import Settings
    from instance_lookup.context import LookupContext
    from instance_lookup.fetching.fetcher import Found
    from instance_lookup.fetching.loader import Loader
    from instance_lookup.fetching.refusals import LetsIn
    from instance_lookup.identifiers import Ref
    from instance_lookup.resolution.selection import Selector
    from instance_lookup.types import Grant


class Held(NamedTuple):
    """What the cache of all processes held when a lookup began."""

    ref: Ref
    deadline: Deadline
    reading: Reading[InstanceConfig]


class Lookups:
    """The lookups of one resolver. What blocks is left to the caller, as steps."""

    def __init__(
        self,
        settings: Settings,
        selector: Selector,
        policy: Allows,
        load_config: Loader[InstanceConfig],
        load_project: Loader[ProjectMapping],
        *,
        is_theirs: LetsIn[InstanceConfig],
        count: Callable[[str], None],
    ) -> None:
        """Look up as the ``settings`` say.

        ``selector`` finds out which instance, ``load_config`` and ``load_project`` fetch,
        ``policy``, which is bound to the settings, decides; ``is_theirs`` asks it as a step.
        ``count`` counts a hit by its name in ``CacheStats``.
        """
        self._settings, self._selector, self._policy = settings, selector, policy
        self._load_config, self._load_project = load_config, load_project
        self._is_theirs, self._count = is_theirs, count
        self._projects = Projects(load_project, load_config, is_theirs)

    def held(
        self,
        context: LookupContext,
        ref: Ref | None,
        read: Callable[[str], Reading[InstanceConfig]] | None,
    ) -> LookupResult | Held | None:
        """Return the answer if it is a fresh hit, of a user who may have it.

        ``context`` says who asks, ``ref`` what it names, where that is known. This is the short way
        of :meth:`steps`, which handles all other cases: without signals, and without generators,
        which would take a third of its time. ``read`` blocks: it reads the cache of all processes,
        and what it returns is returned if it is no answer. ``None``: only this process is asked.
        """
        user = context.user
        if instance_resolved.receivers or user.is_anonymous:
            return None
        held: Held | None = None
        try:
            asked = context.instance_id
            if asked is None or context.project_id is not None or context.request is not None:
                ref = ref or self._selector.select(context)
                if type(ref) is not InstanceRef or ref.within is not None:
                    return None
                asked = ref.instance_id
            elif not self._selector.is_id(asked):
                return None
            entry = self._load_config.read_near(asked, user)
            if entry is None and read is not None and not events.watchers:
                held = Held(InstanceRef(asked), self.deadline(), read(asked))
                entry = self._load_config.hit(asked, user, held.reading)
            if entry is None or entry.document is None:
                return held
            grant = authorize(user, entry.document, self._policy)
        except (NotLoaded, InstanceLookupError):
            return held
        self._count("near_hits" if held is None else "hits")
        remaining = max(0.0, entry.cached_at + entry.ttl - time())
        return LookupResult(entry.document, Source.CACHE, entry.cached_at, remaining, grant)

    def steps(
        self, context: LookupContext, ref: Ref | None, held: Held | None
    ) -> Steps[LookupResult]:
        """Return the answer to ``context``, and tell those who watch.

        ``ref`` is what it names, where that is known; ``held`` what :meth:`held` read already.
        Raises what :meth:`InstanceResolver.resolve` does.
        """
        steps = self._resolve(context, ref, held)
        return notices.watched(steps, self._settings.stale_max_age) if events.watchers else steps

    def _resolve(
        self, context: LookupContext, ref: Ref | None, held: Held | None
    ) -> Steps[LookupResult]:
        user = context.user
        if user.is_anonymous and not self._settings.allow_anonymous:
            notices.tell_anonymous(context)
            raise AccessDenied("Anonymous callers may not use any instance.")
        context = context.with_metadata()
        deadline, reading = self.deadline(), None
        if held is not None:
            ref, deadline, reading = held
        else:
            try:
                ref = ref or self._selector.select(context)
            except NotLoaded as missing:
                ref = yield from asking(partial(self._selector.select, context), missing)
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
            raise build_denial(ref, by, conceal=self._settings.conceal_denied) from None
        except (InstanceNotFound, ConfigServiceUnavailable) as exc:
            raise rename(ref, exc) from exc.__cause__
        result = build_result(found, grant)
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
                grant = authorize(user, found.document, self._policy)
            except (NotLoaded, AccessDenied) as exc:
                grant = yield from notices.judge(exc, context, ref, self._policy, found.document)
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

    def deadline(self) -> Deadline:
        """Return the end of a lookup that begins now."""
        return Deadline.after(self._settings.config_service_timeout)


def build_result(found: Found[InstanceConfig], grant: Grant) -> LookupResult:
    """Return the answer with what was ``found``; ``grant`` proves that the user may have it."""
    return LookupResult(found.document, found.source, found.cached_at, found.ttl_remaining, grant)
