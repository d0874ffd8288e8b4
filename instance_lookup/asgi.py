"""``scope["instance_config"]``, for Channels and for other ASGI applications.

::

    application = ProtocolTypeRouter({
        "http": get_asgi_application(),
        "websocket": AuthMiddlewareStack(InstanceConfigMiddleware(URLRouter(routes))),
    })
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from copy import copy
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.http.response import HttpResponseBase
from django.urls import URLPattern

from instance_lookup.exceptions import (
    CacheError,
    ConfigServiceUnavailable,
    InstanceLookupError,
    forget_request,
)
from instance_lookup.request import current
from instance_lookup.request.problems import PROBLEM_JSON, problem, problem_headers
from instance_lookup.request.scope import lookup_of_scope

if TYPE_CHECKING:
    from instance_lookup.request.scope import ScopeLookup

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[Any]]

logger = logging.getLogger("instance_lookup")

CLOSE_CODES = 4000
"""A socket is closed with this plus the error's HTTP status: 4400, 4403, 4404, 4429, 4503."""


_DEEPEST = 32
"""Middlewares that are looked through for a router; a mock has one behind each, without end."""
_BEGINNINGS = {"websocket.accept", "websocket.http.response.start", "http.response.start"}


class InstanceConfigMiddleware:
    """Puts ``instance_config`` and ``instance_lookup`` into the scope, and answers for errors.

    Both are called and awaited: ``config = await scope["instance_config"]()``. Each call asks the
    resolver, so that what was revoked meanwhile is refused: ``InvalidContext``, ``AccessDenied``,
    ``InstanceNotFound``, ``ConfigServiceUnavailable``. Those that the application does not catch
    close a socket with a code (see :data:`CLOSE_CODES`), and answer HTTP with a problem.

    Goes inside what puts the user into the scope, as ``AuthMiddlewareStack`` does, and directly
    around ``URLRouter`` or a consumer.
    """

    def __init__(
        self, application: Application, *, required: bool = False, watch: bool = False
    ) -> None:
        """``application`` is what the scope is handed on to.

        ``required``: it is called only for users who may have the instance when they connect.
        ``watch``: each message, to or from a socket, is handed on only while they may; else the
        socket is closed. An outage of the Config Service closes none.

        Raises ``ImproperlyConfigured`` for a ``URLRouter`` behind another middleware, or in a
        ``ProtocolTypeRouter``.
        """
        self._required, self._watch = required, watch
        self._has_routes = _is_router(application)
        self.application = self._inside(application) if self._has_routes else application
        # Channels asks for it: a router inside of a router matches the beginning of a path.
        self._path_routing = self._has_routes
        if _is_router_behind(application):
            raise ImproperlyConfigured(
                "InstanceConfigMiddleware cannot see what the URL names: a URLRouter stands behind"
                " something else. Put InstanceConfigMiddleware directly around the URLRouter."
            )

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Attach the lookup to a scope of type http or websocket; hand others on as they are."""
        if self._has_routes or scope["type"] not in {"http", "websocket"}:
            await self.application(scope, receive, send)
            return
        scope = dict(scope)
        lookup = lookup_of_scope(scope, self.application)
        scope["instance_config"], scope["instance_lookup"] = lookup.aconfig, lookup.aget
        outer = current.note(lookup.request)
        try:
            connection = _Connection(lookup, receive, send, watch=self._watch)
            await connection.run(self.application, scope, required=self._required)
        finally:
            current.leave(outer)

    def _inside(self, router: Any) -> Any:
        """Return a copy of ``router`` with the middleware around each of its routes.

        Only there the scope has what the URL names: the router gives each route a scope of its own.
        """
        inner = copy(router)
        inner.routes = [copy(route) for route in router.routes]
        for route in inner.routes:
            route.callback = type(self)(route.callback, required=self._required, watch=self._watch)
        return inner


class _Connection:
    """One connection: how far its application has come with it, and how it is refused."""

    def __init__(self, lookup: ScopeLookup, receive: Receive, send: Send, *, watch: bool) -> None:
        self._lookup, self._receive, self._send, self._watch = lookup, receive, send, watch
        scope: Any = lookup.request.scope  # type: ignore[attr-defined]  # an ASGIRequest
        self._is_socket = scope["type"] == "websocket"
        self._can_respond = not self._is_socket or "websocket.http.response" in (
            scope.get("extensions") or ()
        )
        """Whether the server takes a response in place of a socket."""
        self._has_begun = False
        """True once the socket is accepted, or the head of a response was sent."""
        self._is_over = False
        """True once the client has left, or the application has closed the socket."""
        self._refused: InstanceLookupError | None = None
        self._taken: Message | None = None
        """A message of the client that the application has not got yet."""

    async def run(self, application: Application, scope: Any, *, required: bool) -> None:
        """Call the application, and answer for the errors that it leaves to us."""
        try:
            if required:
                await self._begin()
            await application(scope, self.receive, self.send)
        except CacheError:
            raise  # management failed, not a lookup
        except InstanceLookupError as exc:
            if self._has_begun and not self._is_socket:
                raise  # too late to answer
            await self._refuse(exc)
        except Exception as exc:
            forget_request(exc)  # a consumer's call of a worker
            raise

    async def receive(self) -> Message:
        """Return what the client sends next, or that it is gone: refused."""
        # Kept until it is handed on: an application may give up waiting while we look.
        if self._taken is None:
            self._taken = await self._receive()
        kind = self._taken["type"]
        error = await self._refusal() if kind == "websocket.receive" else None
        message, self._taken = self._taken, None
        if error is not None:
            return {"type": "websocket.disconnect"} | _end(error)
        self._is_over = self._is_over or kind == "websocket.disconnect"
        return message

    async def send(self, message: Message) -> None:
        """Send what the application says, unless the connection was refused."""
        kind = message["type"]
        was_over = self._is_over
        error = await self._refusal() if kind == "websocket.send" else self._refused
        # While we look, the application may close the socket in another task.
        if error is not None or self._is_over is not was_over:
            return  # the application learns of it by its next message, websocket.disconnect
        if kind == "http.response.start":
            message = self._private(message)
        self._has_begun = self._has_begun or kind in _BEGINNINGS
        self._is_over = self._is_over or kind == "websocket.close"
        await self._send(message)

    async def _begin(self) -> None:
        """Look up before the application is called. Raises as the lookup."""
        if self._is_socket:
            self._taken = await self._receive()  # a server takes no answer before that
            if self._taken["type"] != "websocket.connect":
                return
        await self._lookup.aget()

    async def _refusal(self) -> InstanceLookupError | None:
        """Return why the user may not go on, once the socket is closed for that."""
        if self._watch and not self._refused and not self._is_over:
            try:
                await self._lookup.aget()
            except ConfigServiceUnavailable:
                pass  # an outage is no refusal
            except InstanceLookupError as exc:
                await self._refuse(exc)
                return exc
        return self._refused  # maybe by another look, which began later and ended earlier

    async def _refuse(self, error: InstanceLookupError) -> None:
        if self._refused or self._is_over:
            return
        self._refused = error
        is_response, end = self._can_respond and not self._has_begun, _end(error)
        code = error.status_code if is_response else end["code"]
        logger.info("Ended a connection with %d: %s", code, error)
        if is_response:
            await self._respond(error)
        else:  # before it is accepted, servers answer a handshake with 403
            await self._send({"type": "websocket.close"} | end)

    def _private(self, message: Message) -> Message:
        """Return the head of a response, which no cache gives to others if it is of a tenant."""
        state = self._lookup.state
        state.start()
        if not state.is_touched:
            return message
        response = HttpResponseBase(status=message["status"])
        del response.headers["Content-Type"]
        sent = [(name.lower(), value) for name, value in message.get("headers", ())]
        for name in (b"vary", b"cache-control"):
            if found := [value for each, value in sent if each == name]:
                response.headers[name.decode()] = b", ".join(found).decode("latin-1")
        state.finish(response)
        others = [pair for pair in sent if pair[0].decode("latin-1") not in response.headers]
        return {**message, "headers": [*others, *_encoded(response.items())]}

    async def _respond(self, error: InstanceLookupError) -> None:
        body = json.dumps(problem(self._lookup.request, error)).encode()
        headers = {"content-type": PROBLEM_JSON, "content-length": str(len(body))}
        headers |= problem_headers(error)
        prefix = "websocket.http.response" if self._is_socket else "http.response"
        start = {
            "type": f"{prefix}.start",
            "status": error.status_code,
            "headers": _encoded(headers.items()),
        }
        await self._send(self._private(start))
        await self._send({"type": f"{prefix}.body", "body": body})


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _end(error: InstanceLookupError) -> dict[str, Any]:
    """Return what a socket's end says of an error."""
    return {"code": CLOSE_CODES + error.status_code, "reason": error.type.value}


def _is_router(application: Any) -> bool:
    """Tell whether this is a ``URLRouter`` of Channels, known by its routes."""
    routes = getattr(application, "routes", None)
    return isinstance(routes, list | tuple) and any(
        isinstance(route, URLPattern) for route in routes
    )


def _is_router_behind(application: Any) -> bool:
    """Tell whether a ``URLRouter`` stands behind middlewares or a ``ProtocolTypeRouter``."""
    for _ in range(_DEEPEST):
        if application is None or isinstance(application, InstanceConfigMiddleware):
            return False
        by_type = getattr(application, "application_mapping", None)
        if isinstance(by_type, dict):
            return any(_is_router(each) or _is_router_behind(each) for each in by_type.values())
        application = getattr(application, "inner", None) or getattr(
            application, "application", None
        )
        if _is_router(application):
            return True
    return False
