"""What makes the instance of a job current around it, for a user who may have it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance_lookup.access import denied_here
from instance_lookup.current import current_instance, use_instance
from instance_lookup.registry import get_resolver
from instance_lookup.request import current
from instance_lookup.request.attributes import lookup_for

if TYPE_CHECKING:
    from instance_lookup.access import Allows
    from instance_lookup.jobs.carried import Carried


def block_for(carried: Carried, *, policy: Allows | None = None) -> use_instance:
    """Return the ``use_instance`` block to run a job in.

    The user is loaded from the database, and must be allowed to have the instance, by ``policy``
    too. Raises ``AccessDenied`` for a user who is gone or inactive; entering raises what
    :class:`use_instance` does.
    """
    return _block(carried, carried.load_user(), policy)


async def ablock_for(carried: Carried, *, policy: Allows | None = None) -> use_instance:
    """Return the block to run a job in: ``async with await`` this function.

    Takes and raises what :func:`block_for` does, without blocking the event loop.
    """
    return _block(carried, await carried.aload_user(), policy)


def check_current(policy: Allows | None = None) -> None:
    """Check that an instance is current here, and that ``policy`` allows its user to have it.

    For the function of a job that is called directly. Raises ``InstanceRequired``,
    ``AccessDenied``, and for a request what its lookup raises.
    """
    config = current_instance()
    if policy is None:
        return
    block, request = current.block(), current.get()
    context = lookup_for(request).context if block is None else block.context
    if context is None or not get_resolver().permits(policy, context.user, config):
        raise denied_here(config)


def _block(carried: Carried, user: object, policy: Allows | None) -> use_instance:
    return use_instance(
        carried.instance_id, user=user, policy=policy, request_id=carried.request_id
    )
