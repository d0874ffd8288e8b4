"""The input of a lookup: who asks for which instance, and what a request says of that."""

from __future__ import annotations

import re
import secrets
from functools import lru_cache
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.utils.functional import LazyObject, empty
from msgspec import Struct, structs

from instance_lookup.conf import Settings, get_settings
from instance_lookup.users import LookupUser, user_context

_DEFAULT = (Settings().user_context, user_context)
"""What ``USER_CONTEXT`` is unless a project has its own."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


class RequestMetadata(Struct, frozen=True):
    """Where a lookup comes from, for logs and for the Config Service. It decides nothing."""

    ip: str | None = None
    """The client's address."""
    user_agent: str | None = None
    """What the client calls itself."""
    request_id: str | None = None
    """Sent to the Config Service as ``X-Request-ID``."""

    @classmethod
    def from_request(cls, request: HttpRequest) -> RequestMetadata:
        """Return the metadata of a request, Django's or DRF's. One request always has the same.

        A missing or odd ``X-Request-ID`` is replaced by a fresh one.
        """
        # Not by request.drf, which loads DRF: this is imported with the package itself.
        plain: Any = getattr(request, "_request", request)
        known: RequestMetadata | None = plain.__dict__.get("_instance_metadata")
        if known is None:
            get = plain.META.get
            given = get("HTTP_X_REQUEST_ID", "")
            request_id = given if _REQUEST_ID.fullmatch(given) else fresh_request_id()
            known = cls(get("REMOTE_ADDR"), get("HTTP_USER_AGENT"), request_id)
            plain.__dict__["_instance_metadata"] = known
        return known


class LookupContext(Struct, frozen=True):
    """Who asks for which instance, and from where."""

    user: LookupUser
    """Who asks."""
    instance_id: str | None = None
    """Names the instance outright, before any header, URL or default. A project that
    :class:`ProjectIdentifier` finds in this context or in the URL has to belong to it."""
    project_id: str | None = None
    """What :class:`ProjectIdentifier` uses before it looks at the request."""
    request_metadata: RequestMetadata = RequestMetadata()
    """Where none is given, a lookup that needs the cache or the service takes the request's."""
    request: HttpRequest | None = None
    """What identifiers may look at."""

    # Without the request: it is not a value, and its repr shows what the client sent.

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self._values().items())
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LookupContext) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((*self._values().values(),))

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "request"}

    @classmethod
    def from_request(cls, request: HttpRequest, **overrides: Any) -> LookupContext:
        """Return the context of a request; ``overrides`` are fields, such as ids from its body."""
        if "user" not in overrides:
            overrides["user"] = lookup_user(current_user(request), request)
        return cls._of(request, overrides)

    @classmethod
    async def afrom_request(cls, request: HttpRequest, **overrides: Any) -> LookupContext:
        """Return the context of a request, without blocking the event loop."""
        if "user" not in overrides:
            overrides["user"] = await alookup_user(await acurrent_user(request), request)
        return cls._of(request, overrides)

    def with_metadata(self) -> LookupContext:
        """Return the context with the metadata of its request, unless it has some."""
        if self.request is None or self.request_metadata != RequestMetadata():
            return self
        metadata = RequestMetadata.from_request(self.request)
        return structs.replace(self, request_metadata=metadata)

    @classmethod
    def _of(cls, request: HttpRequest, fields: dict[str, Any]) -> LookupContext:
        fields.setdefault("request", request)
        if "request_metadata" not in fields:
            fields["request_metadata"] = RequestMetadata.from_request(request)
        return cls(**fields)


def fresh_request_id() -> str:
    """Return an id for a request that came without one."""
    return secrets.token_hex(16)


def has_own_user_context() -> bool:
    """Tell whether ``USER_CONTEXT`` is the project's own."""
    return get_settings().user_context not in _DEFAULT


def peek_user(request: HttpRequest) -> Any:
    """Return the request's user if that takes no I/O, else ``empty``.

    DRF puts the user it authenticated on ``request.user``, so that comes first.
    """
    user = getattr(request, "user", None)
    while isinstance(user, LazyObject):
        known = object.__getattribute__(user, "_wrapped")  # past its own, which is slow
        if known is empty and _is_of_session(user):
            return getattr(request, "_cached_user", getattr(request, "_acached_user", empty))
        user = known
    return user


def current_user(request: HttpRequest) -> Any:
    """Return the request's user."""
    if (user := peek_user(request)) is not empty:
        return user
    user = request.user
    while isinstance(user, LazyObject):  # middlewares wrap each other's users
        if user._wrapped is empty:  # noqa: SLF001  # the only look that takes a None as well
            user._setup()  # noqa: SLF001
        user = user._wrapped  # noqa: SLF001
    return user


async def acurrent_user(request: HttpRequest) -> Any:
    """Return the request's user, without blocking the event loop."""
    user = peek_user(request)
    if user is not empty:
        return user
    if _is_of_session(request.user):
        return await request.auser()
    return await sync_to_async(current_user)(request)


def _is_of_session(user: object) -> bool:
    """Tell whether this lazy user is of Django's own middleware.

    Others put a lazy user of their own on the request, beside an ``auser`` that is not theirs.
    """
    setup = vars(user).get("_setupfunc")
    return getattr(setup, "__module__", None) == "django.contrib.auth.middleware"


def lookup_user(user: Any, request: HttpRequest | None = None) -> LookupUser:
    """Return what ``USER_CONTEXT`` says about a user."""
    if not has_own_user_context():
        return user_context(user, request)
    function = get_settings().load("user_context")
    if _is_async(function):
        function = async_to_sync(function)
    return _checked(function(user, request))


async def alookup_user(user: Any, request: HttpRequest | None = None) -> LookupUser:
    """Return what ``USER_CONTEXT`` says about a user, without blocking the event loop."""
    if not has_own_user_context():  # the default does no I/O, so it is spared the hop
        return user_context(user, request)
    function = get_settings().load("user_context")
    if _is_async(function):
        return _checked(await function(user, request))
    return _checked(await sync_to_async(function)(user, request))


def peek_lookup_user(request: HttpRequest) -> LookupUser | None:
    """Return what ``USER_CONTEXT`` says about the request's user; ``None`` if that may take I/O."""
    if has_own_user_context() or (user := peek_user(request)) is empty:
        return None
    return user_context(user, request)


@lru_cache(maxsize=16)
def _is_async(function: Any) -> bool:
    return iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)


def _checked(user: object) -> LookupUser:
    if isinstance(user, LookupUser):
        return user
    raise TypeError(f"USER_CONTEXT must return a LookupUser, not {type(user).__name__}")
