"""What a job carries that is published here: of the innermost block, job or request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import SynchronousOnlyOperation

from instance_lookup.concurrency.deferred import in_event_loop
from instance_lookup.context import (
    RequestMetadata,
    acurrent_user,
    alookup_user,
    current_user,
    lookup_user,
    peek_user,
)
from instance_lookup.exceptions import (
    ConfigServiceUnavailable,
    InstanceLookupError,
    MissBudgetSpent,
)
from instance_lookup.jobs.carried import Carried
from instance_lookup.jobs.job import running_job
from instance_lookup.registry import get_resolver
from instance_lookup.request import current
from instance_lookup.request.attributes import lookup_for

if TYPE_CHECKING:
    from django.http import HttpRequest

    from instance_lookup.users import LookupUser


def carried_now(*, insist: bool = True) -> Carried | None:
    """Return what a job carries that is published here; ``None``: no instance is current.

    A request is looked up, unless it has been. If that fails, its error is raised; without
    ``insist`` a request that names no instance, or is refused, has none. If it cannot be told,
    since the Config Service has no answer, the instance that it names is carried all the same: may
    they have it is asked again when the job runs.
    """
    if (carried := _of_job_or_block()) is not None or (request := _request()) is None:
        return carried
    lookup = lookup_for(request)
    try:
        is_new = not (insist or lookup.context or in_event_loop())
        if is_new and _is_nobody(lookup_user(current_user(request), request)):
            return None
        result = lookup.get()
    except (InstanceLookupError, SynchronousOnlyOperation) as exc:
        if insist:
            raise
        return _named(request, exc)
    return _of_request(request, result.config.instance_id)


async def acarried_now(*, insist: bool = True) -> Carried | None:
    """Return what :func:`carried_now` does, without blocking the event loop. Raises as that."""
    if (carried := _of_job_or_block()) is not None or (request := _request()) is None:
        return carried
    lookup = lookup_for(request)
    try:
        is_new = not (insist or lookup.context)
        if is_new and _is_nobody(await alookup_user(await acurrent_user(request), request)):
            return None
        result = await lookup.aget()
    except InstanceLookupError as exc:
        if insist:
            raise
        return _named(request, exc)
    return _of_request(request, result.config.instance_id)


def _is_nobody(who: LookupUser) -> bool:
    """Tell whether a lookup would refuse them, and log that: they have not asked for one."""
    return who.is_anonymous and not get_resolver().settings.allow_anonymous


def _of_job_or_block() -> Carried | None:
    if (job := running_job()) is not None:
        return job.carried
    if (block := current.block()) is None:
        return None
    context, instance_id = block.context, block.result.config.instance_id
    request_id = context.request_metadata.request_id
    return Carried.of(instance_id, block.user, context.user, request_id)


def _request() -> HttpRequest | None:
    """Return the request that is current, unless a job or a block inside it is."""
    return None if running_job() is not None else current.get()


def _named(request: HttpRequest, error: Exception) -> Carried | None:
    """Return what a request carries whose lookup has failed."""
    is_unknown = isinstance(error, ConfigServiceUnavailable)
    if not is_unknown or isinstance(error, MissBudgetSpent):
        return None
    return _of_request(request, lookup_for(request).instance_id)


def _of_request(request: HttpRequest, instance_id: str | None) -> Carried | None:
    context = lookup_for(request).context
    if instance_id is None or context is None:
        return None
    request_id = RequestMetadata.from_request(request).request_id
    return Carried.of(instance_id, peek_user(request), context.user, request_id)
