"""What signals, events and the log say about a lookup."""

from __future__ import annotations

import logging
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from instance_lookup import events
from instance_lookup.access import authorize
from instance_lookup.access.verdicts import deciding_rule
from instance_lookup.concurrency.steps import Notify, asking
from instance_lookup.exceptions import AccessDenied, InstanceLookupError
from instance_lookup.identifiers import InstanceRef, ProjectRef
from instance_lookup.signals import access_denied, instance_resolved, instance_stale_served
from instance_lookup.types import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.dispatch import Signal

    from instance_lookup.access import Allows
    from instance_lookup.concurrency.deferred import NotLoaded
    from instance_lookup.concurrency.steps import Steps
    from instance_lookup.context import LookupContext
    from instance_lookup.identifiers import Ref
    from instance_lookup.types import Grant, InstanceConfig, LookupResult

logger = logging.getLogger("instance_lookup.access")
"""One line for each refusal, at INFO: a logger of its own, so that a site can have just these."""
_WHY = {"service": "the Config Service answered 403", "block": "the site has blocked it"}


def watched(steps: Steps[LookupResult], stale_max_age: float) -> Steps[LookupResult]:
    """Return what the ``steps`` of a lookup do, and tell those who watch how it ended.

    ``stale_max_age`` is the age in seconds at which a copy is no longer served.
    """
    events.tell(events.Began("lookup"))
    began = monotonic()
    source = age = instance_id = None
    outcome = "error"
    try:
        result = yield from steps
    except InstanceLookupError as exc:
        outcome, instance_id = exc.type.lower(), exc.instance_id
        raise
    except GeneratorExit:
        outcome = "cancelled"
        raise
    else:
        source, outcome, instance_id = result.source.value, "ok", result.config.instance_id
        if result.source is Source.STALE_CACHE:
            age = time() - result.cached_at
        return result
    finally:
        events.tell(
            events.Lookup(
                source,
                outcome,
                seconds=monotonic() - began,
                stale_age=age,
                runway=None if age is None else max(0.0, stale_max_age - age),
                instance_id=instance_id,
            )
        )


def judge(
    first: NotLoaded | AccessDenied,
    context: LookupContext,
    ref: Ref,
    policy: Allows,
    config: InstanceConfig,
) -> Steps[Grant]:
    """Return the proof that the user of ``context`` may have ``config``, which ``ref`` led to.

    ``first`` is what ``authorize`` has raised so far: most lookups do not get here. Raises
    ``AccessDenied``, having written the line with the rule of ``policy`` that decided.
    """
    try:
        if isinstance(first, AccessDenied):
            raise first
        return (yield from asking(partial(authorize, context.user, config, policy), first))
    except AccessDenied:
        named = ref if isinstance(ref, InstanceRef) else InstanceRef(config.instance_id, ref)
        log_refusal(context, named, partial(deciding_rule, policy, context.user, config))
        raise


def tell_anonymous(context: LookupContext) -> None:
    """Tell that a caller was refused because they are anonymous: nothing was looked at."""
    if events.watchers:
        events.tell(events.Denial("anonymous"))
    log_refusal(context, None, "ALLOW_ANONYMOUS is off")


def tell_denied(by: str, context: LookupContext, ref: Ref) -> Steps[None]:
    """Tell that ``context`` was refused what ``ref`` names, ``by`` the policy or the service."""
    if events.watchers:
        events.tell(events.Denial(by))
    if by != "policy":  # that has its line already, with the rule
        log_refusal(context, ref, _WHY[by])
    yield from tell(access_denied, context, ref, by=by)


def tell_resolved(context: LookupContext, result: LookupResult) -> Steps[None]:
    """Tell who was given which configuration, and whether it was a stale one."""
    ref = InstanceRef(result.config.instance_id)
    yield from tell(instance_resolved, context, ref, source=result.source)
    if result.source is Source.STALE_CACHE:
        yield from tell(instance_stale_served, context, ref, age=time() - result.cached_at)


def tell(signal: Signal, context: LookupContext, ref: Ref, **about: Any) -> Steps[None]:
    """Send ``signal`` about a lookup, if it has receivers.

    ``context`` says who asked, ``ref`` for what; ``about`` is sent beside that.
    """
    if signal.has_listeners():
        about["instance_id"] = getattr(ref, "instance_id", None)
        about["user_id"] = context.user.user_id
        about["request_id"] = context.request_metadata.request_id
        yield Notify(signal, about)


def log_refusal(context: LookupContext, ref: Ref | None, why: str | Callable[[], str]) -> None:
    """Write the line about a lookup that was refused, where the site logs such lines.

    ``context`` says who asked, ``ref`` for what (``None``: that was not looked at). ``why`` is the
    rule that decided, or a function that finds it out: it is called only for the log.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    user, request_id = context.user, context.with_metadata().request_metadata.request_id
    logger.info(
        "Refused %s to %s (request %r): %s",
        _described(ref),
        "the site itself" if user.is_service else f"user {user.user_id!r}",
        request_id,
        why if isinstance(why, str) else why(),
        extra={
            "instance_id": getattr(ref, "instance_id", None),
            "user_id": user.user_id,
            "request_id": request_id,
        },
    )


def _described(ref: Ref | None) -> str:
    if ref is None:
        return "any instance"
    if isinstance(ref, ProjectRef):
        return f"project {ref.project_id!r}"
    within = f" (project {ref.within.project_id!r})" if ref.within else ""
    return f"instance {ref.instance_id!r}{within}"
