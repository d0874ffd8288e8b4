"""The user of a request, as ``USER_CONTEXT`` describes them."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from operator import is_
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.utils.functional import LazyObject, cached_property, empty
from msgspec import Struct

from instance_lookup.conf import Settings, get_settings
from instance_lookup.users import LookupUser, user_context

if TYPE_CHECKING:
    from django.http import HttpRequest

_DEFAULT = (Settings().user_context, user_context)
"""What ``USER_CONTEXT`` is unless a project has its own."""


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
    user = getattr(request, "user", None)
    if not isinstance(user, LazyObject) or (user := peek_user(request)) is not empty:
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
    settings = get_settings()
    if settings.user_context in _DEFAULT:
        return user_context(user, request)
    function = settings.load("user_context")
    if _is_async(function):
        function = async_to_sync(function)
    return _checked(function(user, request))


async def alookup_user(user: Any, request: HttpRequest | None = None) -> LookupUser:
    """Return what ``USER_CONTEXT`` says about a user, without blocking the event loop."""
    settings = get_settings()
    if settings.user_context in _DEFAULT:  # which does no I/O, so it is spared the hop
        return user_context(user, request)
    function = settings.load("user_context")
    if _is_async(function):
        return _checked(await function(user, request))
    return _checked(await sync_to_async(function)(user, request))


def peek_lookup_user(request: HttpRequest) -> LookupUser | None:
    """Return what ``USER_CONTEXT`` says about the request's user; ``None`` if that may take I/O."""
    if get_settings().user_context not in _DEFAULT or (user := peek_user(request)) is empty:
        return None
    return user_context(user, request)


class Seen(Struct, eq=False, frozen=True):
    """The parts of a request that decide a lookup; tells whether they changed. Does no I/O."""

    user_attribute: object
    """``request.user`` at that time, loaded or not."""
    user: object
    """The Django user behind it."""
    wrapped: object
    """What ``request.user`` holds, if it is lazy and was loaded."""
    fields: dict[str, object]
    """The user's own. A view may change the user object in place."""
    tenants: list[object] | None
    """The user's tenants, where they are a list or a set, which may be changed in place as well."""
    auth: object
    surroundings: Surroundings | None
    """What else a project's own ``USER_CONTEXT`` may look at; ``None`` for the default one."""
    match: Any
    """The ``resolver_match``: ``None`` before the URL is resolved."""
    kwargs: dict[str, object] | None
    """What the URL names. A middleware may change it in place."""
    keys: Collection[str] | None
    """What identifiers look at in ``request.META``; ``None``: unknown."""
    values: list[object]
    """What they found there."""
    route: object
    """What the URL is resolved by, where it was not resolved yet."""

    @classmethod
    def of(
        cls,
        request: HttpRequest,
        user_attribute: object,
        user: object,
        keys: Collection[str] | None,
    ) -> Seen | None:
        """Return what of ``request`` decides now; ``None`` if it has another user meanwhile.

        ``user_attribute`` is what ``request.user`` was before ``user`` was loaded from it: a
        coroutine of the same request may have replaced it since. ``keys`` are what identifiers
        look at in ``request.META``; ``None``: unknown.
        """
        about, meta = request.__dict__, request.META
        match = about.get("resolver_match")
        if getattr(request, "user", None) is not user_attribute:
            return None
        fields = getattr(user, "__dict__", _NO_FIELDS)
        tenants = fields.get("tenant_ids")
        return cls(
            user_attribute,
            user,
            _wrapped(user_attribute) if isinstance(user_attribute, LazyObject) else empty,
            fields.copy(),
            None if tenants is None or not isinstance(tenants, list | set) else [*tenants],
            about.get("auth"),
            None if get_settings().user_context in _DEFAULT else Surroundings.of(request),
            match,
            None if match is None else match.kwargs.copy(),
            keys,
            [meta.get(key) for key in keys or ()],
            _route(request) if match is None else None,
        )

    def is_same_user(self, request: HttpRequest) -> bool:
        """Tell whether ``USER_CONTEXT`` would return the same.

        Users are compared by identity: with a token, an equal user may be allowed less.
        """
        fields = getattr(self.user, "__dict__", _NO_FIELDS)
        try:
            # Identical values are not compared: with no change this takes nanoseconds.
            is_unchanged = fields == self.fields
            has_same_tenants = self.tenants is None or [*fields["tenant_ids"]] == self.tenants
        except Exception:  # noqa: BLE001  # what was replaced fails to load or compare, or is gone
            return False
        return (
            getattr(request, "user", None) is self.user_attribute
            and request.__dict__.get("auth") is self.auth
            and (is_unchanged or self._is_public_unchanged(fields))
            and has_same_tenants
            and (self.wrapped is empty or _wrapped(self.user_attribute) is self.wrapped)
            and (self.surroundings is None or self.surroundings.are_same(request))
        )

    def _is_public_unchanged(self, fields: dict[str, object]) -> bool:
        """Tell whether only private fields have changed, such as what ``has_perm`` keeps."""
        kind = type(self.user)
        return _are_same(_set_by_site(fields, kind), _set_by_site(self.fields, kind))

    def is_same_name(self, request: HttpRequest) -> bool:
        """Tell whether the request names the same instance, if the user is the same.

        False means: not sure.
        """
        match, keys, meta = self.match, self.keys, request.META
        return (
            keys is not None
            and request.__dict__.get("resolver_match") is match
            and [meta.get(key) for key in keys] == self.values
            and (_route(request) == self.route if match is None else match.kwargs == self.kwargs)
        )


class Surroundings(Struct, eq=False, frozen=True):
    """What a project's own ``USER_CONTEXT`` may look at, beside the user and ``request.auth``."""

    attributes: dict[str, object]
    """What middlewares have put on the request, and its URL."""
    meta: dict[str, object]
    """The headers, and what the server adds."""
    session: dict[str, object] | None
    """What the session held; ``None``: it was not loaded."""

    @classmethod
    def of(cls, request: HttpRequest) -> Surroundings:
        """Return what is there now."""
        session = _session_data(request)
        return cls(
            _set_by_site(request.__dict__, type(request)),
            request.META.copy(),
            session and dict(session),
        )

    def are_same(self, request: Any) -> bool:
        """Tell whether nothing of it has changed."""
        session = _session_data(request)
        if self.session is None and session is not None and not request.session.modified:
            session = None  # loaded since, and not written to: no change
        return (
            session == self.session
            and self.meta == request.META
            and _are_same(_set_by_site(request.__dict__, type(request)), self.attributes)
        )


def _set_by_site(fields: dict[str, object], kind: type) -> dict[str, object]:
    """Return the fields without private ones, and without what a ``cached_property`` keeps."""
    return {
        name: value
        for name, value in fields.items()
        if name[0] != "_" and not isinstance(getattr(kind, name, None), cached_property)
    }


def _are_same(now: dict[str, object], before: dict[str, object]) -> bool:
    # By identity: to compare lazy objects would load them.
    return now.keys() == before.keys() and all(map(is_, now.values(), before.values()))


def _wrapped(user: Any) -> object:
    """Return what a lazy user holds, without loading it; ``empty``: nothing yet."""
    held: object = object.__getattribute__(user, "_wrapped")  # past its own, which is slow
    return held


def _session_data(request: Any) -> dict[str, object] | None:
    data: dict[str, object] | None
    data = getattr(getattr(request, "session", None), "_session_cache", None)
    return data


def _route(request: Any) -> tuple[object, ...]:
    """Return what the URL will be resolved by."""
    return request.path_info, getattr(request, "urlconf", None)


_NO_FIELDS: dict[str, Any] = {}


@lru_cache(maxsize=16)
def _is_async(function: Any) -> bool:
    return iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)


def _checked(user: object) -> LookupUser:
    if isinstance(user, LookupUser):
        return user
    raise TypeError(f"USER_CONTEXT must return a LookupUser, not {type(user).__name__}")
