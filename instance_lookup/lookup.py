"""The lookup of one request: made when it is first needed, and again when its user changes."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject, empty

from instance_lookup.access import Allows
from instance_lookup.context import LookupContext, RequestMetadata
from instance_lookup.exceptions import InstanceLookupError
from instance_lookup.registry import get_resolver
from instance_lookup.resolver import InstanceResolver
from instance_lookup.types import InstanceConfig, LookupResult
from instance_lookup.users import (
    LookupUser,
    acurrent_user,
    alookup_user,
    current_user,
    in_event_loop,
    lookup_user,
    peek_user,
)


class RequestLookup:
    """What ``request.instance_config`` and its siblings share.

    Result and error are kept for the user they were made for: DRF authenticates inside the view,
    and what the session's user may have is nothing to the token's.
    """

    __slots__ = (
        "_metadata",
        "_user",
        "error",
        "failed",
        "request",
        "result",
        "user",
        "vary_headers",
    )

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.result: LookupResult | None = None
        self.error: InstanceLookupError | None = None
        self.failed = False
        """Some lookup of this request failed, so its answer must not be stored by anyone."""
        self.user: LookupUser = LookupUser.anonymous()
        """Whom the last lookup was for."""
        self.vary_headers: tuple[str, ...] = ()
        """The request headers that decided something so far."""
        self._user: object = empty
        self._metadata: RequestMetadata | None = None

    @property
    def metadata(self) -> RequestMetadata:
        """Where the request comes from; its ``request_id`` stays the same for every lookup of it."""
        if self._metadata is None:
            self._metadata = RequestMetadata.from_request(self.request)
        return self._metadata

    def peek(self) -> LookupResult | None:
        """Return the answer if it is there for the present user. Does no I/O. Raises its error."""
        user = peek_user(self.request)
        if user is empty or self._user is not _identity(user):
            return None
        if self.error is not None:
            # The same error again and again: its traceback must not grow with each time.
            raise self.error.with_traceback(None)
        return self.result

    def get(self) -> LookupResult:
        """Return the answer for the request's user. Raises as :meth:`InstanceResolver.resolve`."""
        if (result := self.peek()) is not None:
            return result
        user = current_user(self.request)
        self.user = lookup_user(user, self.request)
        resolver = self._begin(user)
        try:
            self.result = resolver.resolve(self._context())
        except InstanceLookupError as exc:
            self.error, self.failed = exc, True
            raise
        return self.result

    async def aget(self) -> LookupResult:
        """Twin of :meth:`get`."""
        if (result := self.peek()) is not None:
            return result
        user = await acurrent_user(self.request)
        self.user = await alookup_user(user, self.request)
        resolver = self._begin(user)
        try:
            self.result = await resolver.aresolve(self._context())
        except InstanceLookupError as exc:
            self.error, self.failed = exc, True
            raise
        return self.result

    async def aconfig(self) -> InstanceConfig:
        """Return the configuration: ``await request.ainstance_config()``."""
        return (await self.aget()).config

    def allows(self, policy: Allows, config: InstanceConfig) -> bool:
        """Tell whether a stricter policy allows the user of the last lookup to have ``config``."""
        return get_resolver().permits(policy, self.user, config)

    def _begin(self, user: object) -> InstanceResolver:
        """Forget the answer for another user, and return who is to be asked."""
        self.result = self.error = None
        self._user = _identity(user)
        resolver = get_resolver()
        self.vary_headers = resolver.vary_headers
        return resolver

    def _context(self) -> LookupContext:
        return LookupContext.from_request(
            self.request, user=self.user, request_metadata=self.metadata
        )


def _identity(user: Any) -> object:
    """Return what must stay the same for an answer to hold: the very object, or nobody."""
    return user if getattr(user, "is_authenticated", False) else None


class LazyLookup(SimpleLazyObject):
    """Stands for something that is looked up when it is touched, each time for the user of then.

    Not a bare ``SimpleLazyObject``: that would keep the first user's answer.
    """

    def __init__(
        self, lookup: RequestLookup, pick: Callable[[LookupResult], Any], name: str
    ) -> None:
        # Past LazyObject's own: its __setattr__ would evaluate it.
        self.__dict__.update(_lookup=lookup, _pick=pick, _name=name)

    @property
    def _wrapped(self) -> Any:
        own = self.__dict__
        try:
            return own["_pick"](_touched(own["_lookup"], own["_name"]))
        except AttributeError as exc:
            # Python would take it for "no such attribute", and DRF would ask again and again.
            raise RuntimeError(f"The lookup failed with an AttributeError: {exc}") from exc

    def __repr__(self) -> str:
        """Do no I/O: this is what a debugger or an error page calls."""
        return f"<{type(self).__name__} of request.{self.__dict__['_name']}>"


def _touched(lookup: RequestLookup, name: str) -> LookupResult:
    if (result := lookup.peek()) is not None:
        return result
    if in_event_loop():
        raise SynchronousOnlyOperation(
            f"request.{name} is not there yet, and getting it here would block the event loop: "
            "first 'await request.ainstance_config()'."
        )
    return lookup.get()


def _result(result: LookupResult) -> LookupResult:
    return result


_config = attrgetter("config")


def lookup_for(request: Any) -> RequestLookup:
    """Return the lookup of a request, Django's or DRF's, having attached it if need be."""
    plain: Any = getattr(request, "_request", request)
    attached = plain.__dict__.get("_instance_lookup")
    return attach(plain) if attached is None else attached  # type: ignore[no-any-return]  # set by attach


def attach(request: Any) -> RequestLookup:
    """Give a request its ``instance_config``, ``instance_lookup`` and their twins. Does no I/O."""
    lookup = RequestLookup(request)
    request.__dict__.update(
        _instance_lookup=lookup,
        instance_config=LazyLookup(lookup, _config, "instance_config"),
        instance_lookup=LazyLookup(lookup, _result, "instance_lookup"),
        ainstance_config=lookup.aconfig,
        ainstance_lookup=lookup.aget,
    )
    return lookup
