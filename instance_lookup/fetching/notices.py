"""What the signals say about a lookup."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from instance_lookup.concurrency.steps import Notify
from instance_lookup.identifiers import InstanceRef
from instance_lookup.signals import instance_resolved, instance_stale_served
from instance_lookup.types import Source

if TYPE_CHECKING:
    from django.dispatch import Signal

    from instance_lookup.concurrency.steps import Steps
    from instance_lookup.context import LookupContext
    from instance_lookup.identifiers import Ref
    from instance_lookup.types import LookupResult


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
