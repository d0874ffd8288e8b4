"""Why a user gets what they get: the whole way of a lookup, told and not taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from msgspec import Struct

from instance_lookup.access.verdicts import Answer, Verdict, verdict_tree
from instance_lookup.concurrency.deferred import in_event_loop
from instance_lookup.exceptions import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceBlocked,
    InstanceLookupError,
    InvalidContext,
)
from instance_lookup.fetching.failures import build_denial, denied_by, rename
from instance_lookup.fetching.glance import glance
from instance_lookup.identifiers import InstanceRef, ProjectRef
from instance_lookup.operations.explanation import Asked, Ending, Explanation
from instance_lookup.operations.outlook import Outlook, look

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from instance_lookup.cache.kinds import ProjectMapping
    from instance_lookup.context import LookupContext
    from instance_lookup.fetching.loader import Loader
    from instance_lookup.identifiers import Identifies, Ref
    from instance_lookup.resolver import InstanceResolver
    from instance_lookup.types import InstanceConfig

D = TypeVar("D", bound=Struct)

__all__ = ["Explanation", "aexplain", "explain", "verdict_tree"]


def explain(
    resolver: InstanceResolver,
    context: LookupContext,
    *,
    ask: bool = False,
    names: Collection[str] = (),
) -> Explanation:
    """Return why ``context`` gets what it gets of ``resolver``, without changing anything.

    With ``ask`` the Config Service is asked where a lookup would ask it, and nothing of its answer
    is stored. ``names`` are what else the user is called, such as their username: an owner that is
    one of these gets a hint. Errors are part of the explanation. Raises
    ``SynchronousOnlyOperation`` in an event loop: there, await :func:`aexplain`.
    """
    if in_event_loop():
        raise SynchronousOnlyOperation("Use 'await aexplain(…)' in an event loop.")
    context = context.with_metadata()
    told = Explanation(user=_who(context), request_id=context.request_metadata.request_id)
    try:
        _Way(resolver, context, told, ask=ask, names=names).go()
    except Exception as exc:  # noqa: BLE001  # of an identifier or a policy of the project
        told.ending = _failed(exc)
    return told


async def aexplain(
    resolver: InstanceResolver,
    context: LookupContext,
    *,
    ask: bool = False,
    names: Collection[str] = (),
) -> Explanation:
    """Return what :func:`explain` does, without blocking the event loop.

    ``resolver``, ``context``, ``ask`` and ``names`` are as there.
    """
    return await sync_to_async(explain)(resolver, context, ask=ask, names=names)


class _Way:
    """One lookup, step by step. Each step tells what it saw."""

    def __init__(
        self,
        resolver: InstanceResolver,
        context: LookupContext,
        told: Explanation,
        *,
        ask: bool,
        names: Collection[str],
    ) -> None:
        self._resolver = resolver
        self._context = context
        self._told = told
        self._ask = ask
        self._names = names
        self._load_config = resolver._load_config  # noqa: SLF001  # looked at, not used
        self._load_project = resolver._load_project  # noqa: SLF001

    def go(self) -> None:
        """Tell what each step of a lookup would see, until one of them ends it."""
        told, context, settings = self._told, self._context, self._resolver.settings
        told.identifiers = _identifiers(self._resolver, context)
        if context.user.is_anonymous and not settings.allow_anonymous:
            reason = "anonymous callers are refused before anything is looked up"
            told.verdict = Verdict("ALLOW_ANONYMOUS", Answer.NO, reason)
            self._end_with(AccessDenied("Anonymous callers may not use any instance."))
            return
        try:
            ref = self._resolver.selector.select(context)
        except InvalidContext as exc:
            self._end_with(exc)
            return
        told.named = _name(ref)
        if (found := self._look(ref)) is None or not self._judge(ref, found):
            return
        if isinstance(ref, InstanceRef) and ref.within is not None:
            self._agree(ref, ref.within)

    def _look(self, ref: Ref) -> Outlook[InstanceConfig] | None:
        """Return what is known of the configuration; ``None``: the lookup ends before that."""
        told = self._told
        if isinstance(ref, ProjectRef):
            mapped = self._look_at(self._load_project, ref.project_id, self._leads_to_theirs)
            if mapped.document is None:
                self._end_without(ref, mapped)
                return None
            told.instance_id = mapped.document.instance_id
            found = self._look_at(self._load_config, told.instance_id)
        else:
            told.instance_id = ref.instance_id
            found = self._look_at(self._load_config, ref.instance_id, self._is_theirs)
        if found.document is None:
            self._end_without(ref, found)
            return None
        return found

    def _judge(self, ref: Ref, found: Outlook[InstanceConfig]) -> bool:
        """Ask the policy, and end with what follows; tell whether it lets the user in."""
        told, resolver = self._told, self._resolver
        config = found.document
        assert config is not None  # noqa: S101  # _look has seen to it
        verdict = self._verdict(config)
        if verdict.answer is Answer.FAILED:
            why = "; ".join(map(str, verdict.deciding))
            told.ending = Ending(status=500, message=f"The policy failed: {why}")
            return False
        if verdict.answer is Answer.NO:
            denial = build_denial(ref, "policy", conceal=resolver.settings.conceal_denied)
            self._end_with(denial, is_certain=found.is_certain)
            return False
        source = None if found.source is None else found.source.value
        if found.is_certain:
            told.ending = Ending(status=200, source=source, message="They get the instance.")
        else:
            told.ending = _open(200, f"where it fails, they get the copy ({source})")
        return True

    def _agree(self, ref: InstanceRef, project: ProjectRef) -> None:
        """Check the project that is named beside the instance."""
        mapped = self._look_at(
            self._load_project,
            project.project_id,
            lambda found: found.instance_id == ref.instance_id,
        )
        is_known = mapped.document is not None and mapped.is_certain
        if is_known and mapped.document.instance_id == ref.instance_id:  # type: ignore[union-attr]
            return
        if isinstance(mapped.error, ConfigServiceUnavailable):
            self._end_with(rename(ref, mapped.error))
        elif mapped.error is None and not mapped.is_certain:
            self._told.ending = _open(503, f"it says whether {_name(project)} is of this instance")
        else:
            told = (
                f"Project {project.project_id!r} does not belong to instance {ref.instance_id!r}."
            )
            self._end_with(InvalidContext(told))

    def _look_at(
        self, loader: Loader[D], asked: str, is_theirs: Callable[[D], bool] | None = None
    ) -> Outlook[D]:
        conceal = self._resolver.settings.conceal_denied
        return look(
            self._resolver,
            loader,
            asked,
            self._context,
            self._told,
            ask=self._ask,
            is_theirs=is_theirs if conceal else None,
        )

    def _verdict(self, config: InstanceConfig) -> Verdict:
        """Return what the policy says of a configuration, and tell it."""
        told, user = self._told, self._context.user
        told.verdict = verdict_tree(self._resolver.policy, user, config, self._names)
        told.hints = list(told.verdict.hints)
        return told.verdict

    def _is_theirs(self, config: InstanceConfig) -> bool:
        return self._verdict(config).answer is not Answer.NO

    def _leads_to_theirs(self, mapping: ProjectMapping) -> bool:
        seen = glance(self._load_config, mapping.instance_id, self._context)
        config = None if seen.entry is None or seen.is_refused else seen.entry.document
        return config is not None and self._is_theirs(config)

    def _end_without(self, ref: Ref, found: Outlook[Any]) -> None:
        """End a lookup that finds no document."""
        conceal = self._resolver.settings.conceal_denied
        if found.error is None:
            self._told.ending = _open(503, "there is no copy to serve where it fails")
        elif isinstance(found.error, AccessDenied):
            rule, reason = "Config Service", "it answered 403 for this user"
            if isinstance(found.error, InstanceBlocked):
                rule, reason = "Block", str(found.error)
            self._told.verdict = Verdict(rule, Answer.NO, reason)
            self._end_with(build_denial(ref, denied_by(found.error), conceal=conceal))
        else:
            self._end_with(rename(ref, found.error))

    def _end_with(self, error: InstanceLookupError, *, is_certain: bool = True) -> None:
        if is_certain:
            self._told.ending = _ended(error)
        else:
            said = f"by the copy they would be refused: {error}"
            self._told.ending = _open(error.status_code, said)


def _ended(error: InstanceLookupError) -> Ending:
    reason = error.details.get("reason")
    message = f"{error} ({reason})" if reason else str(error)
    return Ending(status=error.status_code, error=error.type.value, message=message)


def _open(otherwise: int, message: str) -> Ending:
    return Ending(
        status=None,
        otherwise=otherwise,
        message=f"The Config Service decides; {message.rstrip('.')}.",
    )


def _failed(exc: Exception) -> Ending:
    # Not its text, which may hold anything.
    message = f"The lookup fails with {type(exc).__name__}, raised by code of the project."
    return Ending(status=500, error=type(exc).__name__, message=message)


def _identifiers(resolver: InstanceResolver, context: LookupContext) -> list[Asked]:
    """Return what each identifier says, in order, and which of them a lookup does not ask."""
    told: list[Asked] = []
    is_named = context.instance_id is not None
    if is_named:
        told.append(Asked("the caller", _name(InstanceRef(str(context.instance_id)))))
    for each in resolver.identifiers:
        name = _identifier_name(each)
        if is_named and (context.instance_id is not None or not getattr(each, "explicit", False)):
            told.append(Asked(name, "not asked"))
            continue
        said, is_named_here = _said(resolver, each, context)
        is_named = is_named or is_named_here
        told.append(Asked(name, said))
    return told


def _said(
    resolver: InstanceResolver, identifier: Identifies, context: LookupContext
) -> tuple[str, bool]:
    try:
        ref = identifier.identify(context, context.request)
        return ("nothing", False) if ref is None else (_name(resolver.selector.check(ref)), True)
    except InstanceLookupError as exc:
        return str(exc), True
    except Exception as exc:  # noqa: BLE001  # of the project's own
        return f"raised {type(exc).__name__}", True


def _identifier_name(identifier: Identifies) -> str:
    header = getattr(identifier, "header", None)
    name = type(identifier).__name__
    return f"{name} ({header})" if isinstance(header, str) else name


def _name(ref: Ref) -> str:
    if isinstance(ref, ProjectRef):
        return f"project {ref.project_id!r}"
    within = f" in {_name(ref.within)}" if ref.within else ""
    return f"instance {ref.instance_id!r}{within}"


def _who(context: LookupContext) -> str:
    user = context.user
    if user.is_service:
        return "the site itself"
    return "anonymous" if user.is_anonymous else f"user {user.user_id!r}"
