"""What of a request decides its lookup, and whether that has changed since."""

from __future__ import annotations

from collections.abc import Collection
from operator import is_
from typing import TYPE_CHECKING, Any

from django.utils.functional import LazyObject, cached_property, empty
from msgspec import Struct

from instance_lookup.context import has_own_user_context

if TYPE_CHECKING:
    from django.http import HttpRequest


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
            Surroundings.of(request) if has_own_user_context() else None,
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
