"""The instance that code works in, outside of requests as well: a block's, else the request's.

::

    with use_instance("acme", user=owner):
        export_orders()  # what this calls asks current_instance()
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from instance_lookup.access import denied_here
from instance_lookup.concurrency.deferred import call_when_loaded
from instance_lookup.context import LookupContext, RequestMetadata, alookup_user, lookup_user
from instance_lookup.exceptions import InstanceRequired
from instance_lookup.registry import get_resolver
from instance_lookup.request import current
from instance_lookup.request.attributes import lookup_for
from instance_lookup.users import LookupUser

if TYPE_CHECKING:
    from types import TracebackType

    from django.http import HttpRequest

    from instance_lookup.access import Allows
    from instance_lookup.types import InstanceConfig, LookupResult


class use_instance:  # noqa: N801  # lower case like the functions that it stands among
    """Make an instance current for a ``with`` or ``async with`` block; it gives the configuration.

    ``user`` is who works in it: a Django user, which ``USER_CONTEXT`` judges as it does in a
    request (its ``request`` is ``None``), a :class:`LookupUser`, or ``LookupUser.service()`` for
    the site itself. They must be allowed to have it when the block begins, by ``policy``, too,
    where one is given. As a request does, a block keeps its first answer: begin one for each
    piece of work, not one for the life of a process.

    Entering raises ``InvalidContext``, ``AccessDenied``, ``InstanceNotFound`` or
    ``ConfigServiceUnavailable``.
    """

    def __init__(
        self,
        instance_id: str,
        *,
        user: Any,
        policy: Allows | None = None,
        request_id: str | None = None,
    ) -> None:
        """``request_id`` names this work in logs, and to the Config Service."""
        self._instance_id, self._user, self._policy = instance_id, user, policy
        self._metadata = RequestMetadata(request_id=request_id)
        self._block: current.Block | None = None

    def __enter__(self) -> InstanceConfig:
        self._check_unused()
        user, resolver = self._user, get_resolver()
        context = self._context(user if isinstance(user, LookupUser) else lookup_user(user))
        result = resolver.resolve(context)
        self._insist(context.user, result.config)
        return self._begin(context, result)

    async def __aenter__(self) -> InstanceConfig:
        self._check_unused()
        user, resolver = self._user, get_resolver()
        context = self._context(user if isinstance(user, LookupUser) else await alookup_user(user))
        result = await resolver.aresolve(context)
        await call_when_loaded(partial(self._insist, context.user, result.config))
        return self._begin(context, result)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        block, self._block = self._block, None
        if block is None:
            return
        current.end(block)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._instance_id!r})"

    def _check_unused(self) -> None:
        if self._block is not None:
            raise RuntimeError(f"{self!r} is entered already: make one for each block.")

    def _context(self, who: LookupUser) -> LookupContext:
        request, metadata = current.get(), self._metadata
        if metadata.request_id is None and request is not None:
            metadata = RequestMetadata.from_request(request)
        return LookupContext(who, self._instance_id, request_metadata=metadata)

    def _insist(self, who: LookupUser, config: InstanceConfig) -> None:
        policy = self._policy
        if policy is not None and not get_resolver().permits(policy, who, config):
            raise denied_here(config)

    def _begin(self, context: LookupContext, result: LookupResult) -> InstanceConfig:
        if (request := current.get()) is not None:
            lookup_for(request).state.touch()  # the response is for this user alone
        self._block = current.begin(context, result, self._user)
        return result.config


def current_instance() -> InstanceConfig:
    """Return the configuration that this code works with, authorised for its user.

    That of the ``use_instance`` block around it, of the task, or of the request. Raises
    ``InstanceRequired`` where there is none, and for a request what its lookup raises.
    """
    return current_lookup().config


async def acurrent_instance() -> InstanceConfig:
    """Return what :func:`current_instance` does, without blocking the event loop."""
    return (await acurrent_lookup()).config


def current_lookup() -> LookupResult:
    """Return the answer that :func:`current_instance` has its configuration of. Raises as that."""
    if (block := current.block()) is not None:
        return block.result
    return lookup_for(_current_request()).get()


async def acurrent_lookup() -> LookupResult:
    """Return what :func:`current_lookup` does, without blocking the event loop."""
    if (block := current.block()) is not None:
        return block.result
    return await lookup_for(_current_request()).aget()


def _current_request() -> HttpRequest:
    if (request := current.get()) is not None:
        return request
    raise InstanceRequired(
        "No instance is current here: this code runs in no request that the middleware of "
        "instance_lookup has seen. Call it inside 'with use_instance(instance_id, user=...):', "
        "in a task that carries an instance, or pass the configuration to it."
    )
