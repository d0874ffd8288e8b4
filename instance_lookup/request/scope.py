"""The request and the lookup of an ASGI scope: a socket lives for hours, a request does not."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.exceptions import SuspiciousOperation, SynchronousOnlyOperation
from django.core.handlers.asgi import ASGIRequest
from django.urls import ResolverMatch

from instance_lookup.concurrency.deferred import in_event_loop
from instance_lookup.exceptions import InvalidContext
from instance_lookup.request.lookup import RequestLookup
from instance_lookup.request.response import ResponseState

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from instance_lookup.identifiers import Ref
    from instance_lookup.types import InstanceConfig, LookupResult
    from instance_lookup.users import LookupUser


class ScopeRequest(ASGIRequest):
    """What identifiers, ``USER_CONTEXT`` and the log see of a scope. It has no body."""

    def __init__(self, scope: MutableMapping[str, Any], application: Any) -> None:
        """Read headers, path and query of ``scope``; ``application`` stands for the view."""
        query = scope.get("query_string") or b""
        if isinstance(query, bytes):  # not all are UTF-8: then no id matches, and all else works
            query = query.decode(errors="replace")
        # A socket has no method; it begins as a GET.
        defaults = {"path": "/", "method": "GET"}
        super().__init__({**defaults, **scope, "query_string": query}, BytesIO())
        self.scope = scope
        self._application = application
        self.follow()

    def follow(self) -> None:
        """Take over the user, the session and the route that the scope has by now."""
        scope: Any = self.scope
        self.user = scope["user"] if "user" in scope else _anonymous()
        if "session" in scope:
            self.session = scope["session"]
        route = scope.get("url_route") or {}
        # Never None: the path of a socket is not one of Django's ROOT_URLCONF.
        self.resolver_match = ResolverMatch(
            self._application, route.get("args", ()), route.get("kwargs", {})
        )


class ScopeLookup(RequestLookup, eq=False):
    """The lookup of one scope. Each time it asks the resolver, since a socket lives for hours.

    What it answers was allowed a moment ago, to the user and under the name that the scope has now.
    """

    def get(self) -> LookupResult:
        """Return the answer for the scope's user. Raises as :meth:`InstanceResolver.resolve`."""
        if in_event_loop():
            raise SynchronousOnlyOperation(
                "To look up the scope's instance here would block the event loop: "
                "'await scope[\"instance_config\"]()', or 'await acurrent_instance()'."
            )
        self._follow()
        try:
            return RequestLookup.get(self)
        except SuspiciousOperation as exc:
            raise _refusal(exc) from exc

    async def aget(self) -> LookupResult:
        """Return the answer without blocking the event loop. Raises as :meth:`get`."""
        self._follow()
        try:
            return await RequestLookup.aget(self)
        except SuspiciousOperation as exc:
            raise _refusal(exc) from exc

    async def aconfig(self) -> InstanceConfig:
        """Return the configuration, without blocking the event loop. Raises as :meth:`get`."""
        return (await self.aget()).config

    def __repr__(self) -> str:
        """Show no request: its query may hold a token."""
        return f"{type(self).__name__}({self.instance_id!r})"

    def _follow(self) -> None:
        self.request.follow()  # type: ignore[attr-defined]  # made by lookup_of_scope

    def _recall(self) -> LookupResult | None:
        return None

    def _kept(self, who: LookupUser, named: Ref | str | None) -> LookupResult | None:
        return None


def lookup_of_scope(scope: MutableMapping[str, Any], application: Any) -> ScopeLookup:
    """Return a lookup of ``scope``, which ``application`` answers. Does no I/O."""
    request = ScopeRequest(scope, application)
    lookup = ScopeLookup(request, ResponseState())
    request.__dict__["_instance_lookup"] = lookup
    return lookup


def _refusal(error: SuspiciousOperation) -> InvalidContext:
    """Return what stands for the 400 that Django's handler would answer, without its reasons."""
    return InvalidContext(f"The request is refused: {type(error).__name__}.")


def _anonymous() -> Any:
    if not apps.is_installed("django.contrib.auth"):
        return None
    from django.contrib.auth.models import AnonymousUser  # noqa: PLC0415  # needs its app

    return AnonymousUser()
