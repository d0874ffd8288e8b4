"""What signals and events say about a lookup."""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING, Any

from instance_lookup import events
from instance_lookup.concurrency.steps import Notify
from instance_lookup.exceptions import InstanceLookupError
from instance_lookup.identifiers import InstanceRef
from instance_lookup.signals import access_denied, instance_resolved, instance_stale_served
from instance_lookup.types import Source

if TYPE_CHECKING:
    from django.dispatch import Signal

    from instance_lookup.concurrency.steps import Steps
    from instance_lookup.context import LookupContext
    from instance_lookup.identifiers import Ref
    from instance_lookup.types import LookupResult


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


def tell_denied(by: str, context: LookupContext, ref: Ref) -> Steps[None]:
    """Tell that ``context`` was refused what ``ref`` names, ``by`` the policy or the service."""
    if events.watchers:
        events.tell(events.Denial(by))
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
