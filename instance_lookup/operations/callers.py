"""Explanations for a user by name, with a request that is made up: for commands and pages."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import DatabaseError
from django.http import HttpRequest, QueryDict

from instance_lookup.context import LookupContext, RequestMetadata, lookup_user
from instance_lookup.operations.explain import explain
from instance_lookup.operations.explanation import Ending, Explanation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from instance_lookup.resolver import InstanceResolver


def explain_user(
    resolver: InstanceResolver,
    user: str | None,
    *,
    headers: Mapping[str, str] | None = None,
    path: str = "/",
    instance_id: str | None = None,
    project_id: str | None = None,
    ask: bool = False,
) -> Explanation:
    """Return what :func:`explain` says of a user of this site and a request that is made up.

    ``user`` is a username, or else a key; ``None``: an anonymous caller. ``headers`` and ``path``
    (with a query, if any) are those of the request. ``instance_id`` and ``project_id`` are named
    outright, as by :class:`LookupContext`. With ``ask`` the Config Service is asked. A user who is
    not there is part of the explanation, and so is a database that is down.
    """
    try:
        found = _anonymous() if user is None else find_user(user)
    except (LookupError, ImproperlyConfigured, DatabaseError) as exc:
        return _without_user(user, exc)
    request = make_request(found, headers or {}, path)
    try:
        who = lookup_user(found, request)
    except Exception as exc:  # noqa: BLE001  # of USER_CONTEXT
        return _without_user(user, exc, said=f"USER_CONTEXT raised {type(exc).__name__}.")
    context = LookupContext(
        who, instance_id, project_id, RequestMetadata.from_request(request), request
    )
    return explain(resolver, context, ask=ask, names=tuple(names_of(found)))


def find_user(name: str) -> Any:
    """Return the user of that username, else of that key.

    Raises ``LookupError`` where there is none, and what the database raises.
    """
    model: Any = get_user_model()
    users = model._default_manager  # noqa: SLF001  # Django documents it
    for find in users.get_by_natural_key, lambda key: users.get(pk=key):
        # "ValueError": what can be no key, or, on PostgreSQL, no text, such as a NUL.
        with suppress(model.DoesNotExist, ValueError, ValidationError):
            return find(name)
    raise LookupError(f"No user has the username or the key {name!r}.")


def names_of(user: Any) -> Iterable[str]:
    """Yield what a user is called, beside their key: an owner must be none of these."""
    for name in (getattr(user, "get_username", str)(), getattr(user, "email", None)):
        if isinstance(name, str) and name:
            yield name


def make_request(user: Any, headers: Mapping[str, str], path: str) -> HttpRequest:
    """Return a request of ``user`` with ``headers`` for ``path``, which may have a query."""
    request = HttpRequest()
    url = urlsplit(path)
    hosts = (host.lstrip(".") for host in settings.ALLOWED_HOSTS if host != "*")
    request.method = "GET"
    request.path = request.path_info = url.path or "/"
    request.GET = QueryDict(url.query)
    request.META = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": request.path_info,
        "QUERY_STRING": url.query,
        "SERVER_NAME": next(hosts, "localhost"),
        "SERVER_PORT": "80",
        **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()},
    }
    request.user = user
    return request


def _anonymous() -> Any:
    if not apps.is_installed("django.contrib.auth"):
        return None
    # Not above: without the app its models cannot be imported.
    from django.contrib.auth.models import AnonymousUser  # noqa: PLC0415

    return AnonymousUser()


def _without_user(user: str | None, exc: Exception, said: str = "") -> Explanation:
    """Return the explanation that ends before the lookup: there is no user to look up for."""
    if not said:
        is_known = isinstance(exc, LookupError | ImproperlyConfigured)
        said = str(exc.args[0]) if is_known else f"Users cannot be read: {type(exc).__name__}."
    who = "anonymous" if user is None else f"user {user!r}"
    ending = Ending(status=None, error=type(exc).__name__, message=said)
    return Explanation(user=who, ending=ending)
