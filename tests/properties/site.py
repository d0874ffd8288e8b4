"""A site of several tenants, and what may be asked of it with any bytes as an id."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from asgiref.sync import async_to_sync, iscoroutinefunction, markcoroutinefunction
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from hypothesis import strategies as st

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    LookupContext,
    aresolve_instance,
    resolve_instance,
)
from instance_lookup.backends.base import Document
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.identifiers import SubdomainIdentifier
from tests.support.doors import Somebody, owned_by

if TYPE_CHECKING:
    from instance_lookup.backends.base import NotModified, Query

DOMAIN = "example.com"
OLGA, SAM, NOBODY = Somebody("olga", default_instance_id="acme"), Somebody("sam"), AnonymousUser()
OWNED = {OLGA: frozenset({"acme", "www2"}), SAM: frozenset({"globex"}), NOBODY: frozenset[str]()}
PROJECTS = {"shop": "acme", "store": "globex", "lost": "nothing", "bad": "a b"}


class Tenants(DictConfigService):
    """Knows tenants of several owners, of none, and some that it answers badly about."""

    def __init__(self) -> None:
        owned = {name: owned_by(user) for user, names in OWNED.items() for name in names}
        super().__init__({**owned, "ownerless": {}, "odd": {}, "refused": {}, "down": {}}, PROJECTS)

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        match instance_id:
            case "odd":
                return Document(b"<html>", None)
            case "refused":
                raise AccessDenied("not this user", instance_id=instance_id)
            case "down":
                raise ConfigServiceUnavailable("down", reason="status")
            case _:
                return super().get_instance(instance_id, query)


class Ask(NamedTuple):
    """What a request names, and in which places; ``None``: it does not name anything there."""

    user: Any
    header: bytes | None = None
    project_header: bytes | None = None
    host: bytes | None = None
    path_instance: bytes | None = None
    path_project: bytes | None = None
    given: Any = None
    """The id in the request's body, any JSON value."""

    @property
    def url(self) -> str:
        if self.given is not None:
            return "/given/"
        if self.path_instance is not None:
            return f"/i/{quote(self.path_instance, safe='')}/"
        if self.path_project is not None:
            return f"/p/{quote(self.path_project, safe='')}/"
        return "/where/"

    @property
    def headers(self) -> dict[str, str]:
        """Any bytes, as WSGI and ASGI servers hand them over."""
        host = b"" if self.host is None else self.host + b"."
        sent = {"X-Instance-ID": self.header, "X-Project-ID": self.project_header}
        named = {name: value.decode("latin-1") for name, value in sent.items() if value is not None}
        return {"Host": host.decode("latin-1") + DOMAIN, **named}

    @property
    def outright(self) -> list[str]:
        """The instances named outright, in any place that counts."""
        if self.given is not None:
            return [self.given]
        in_path = self.path_instance if self.url.startswith("/i/") else None
        named = (self.header, in_path, self.host and self.host.lower())
        return [value.decode("latin-1") for value in named if value is not None]


class Acting:
    """The middleware that logs the user in whom the request is about to be made for."""

    sync_capable = async_capable = True
    user: Any = NOBODY

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        request.user = self.user
        return self.get_response(request)


def _told(config: Any) -> HttpResponse:
    return HttpResponse(config.instance_id)


def where(request: Any, **_: str) -> HttpResponse:
    return _told(request.instance_config)


async def awhere(request: Any, **_: str) -> HttpResponse:
    return _told(await request.ainstance_config())


def given(request: Any) -> HttpResponse:
    asked = json.loads(request.body)
    return _told(resolve_instance(LookupContext.from_request(request, instance_id=asked)))


async def agiven(request: Any) -> HttpResponse:
    asked = json.loads(request.body)
    context = await LookupContext.afrom_request(request, instance_id=asked)
    return _told(await aresolve_instance(context))


def routes(prefix: str, named: Any, in_body: Any) -> list[Any]:
    """Return the URLs of one door, behind ``prefix``."""
    return [
        path(f"{prefix}/where/", named),
        path(f"{prefix}/i/<path:instance_id>/", named),
        path(f"{prefix}/p/<path:project_id>/", named),
        path(f"{prefix}/given/", in_body),
    ]


urlpatterns = [*routes("sync", where, given), *routes("async", awhere, agiven)]


def site_settings(**options: Any) -> dict[str, Any]:
    """Return the settings of the site."""
    return {
        "ROOT_URLCONF": "tests.properties.site",
        "MIDDLEWARE": [
            "tests.properties.site.Acting",
            "instance_lookup.middleware.InstanceConfigMiddleware",
        ],
        "INSTANCE_LOOKUP": {
            "CONFIG_SERVICE_BACKEND": Tenants(),
            "IDENTIFIERS": [
                SubdomainIdentifier(DOMAIN),
                "instance_lookup.identifiers.HeaderIdentifier",
                "instance_lookup.identifiers.PathIdentifier",
                "instance_lookup.identifiers.ProjectIdentifier",
                "instance_lookup.identifiers.UserDefaultIdentifier",
            ],
            "MISS_BUDGET": None,  # else 429 is an answer, too
            **options,
        },
    }


class AsgiClient(AsyncClient):
    """A client that names the host once; Django's own adds its test server's name."""

    def _base_scope(self, **request: Any) -> Any:
        scope = super()._base_scope(**request)  # type: ignore[misc]  # the stubs lack it
        return {**scope, "headers": [h for h in scope["headers"] if h != (b"host", b"testserver")]}


def answer(ask: Ask, door: str, *, is_async: bool) -> Any:
    """Send the request through a door of the site."""
    Acting.user = ask.user
    client: Any = (AsgiClient if is_async else Client)()
    send = async_to_sync(client.post) if is_async else client.post
    kind = {"content_type": "application/json"}
    return send(f"/{door}{ask.url}", json.dumps(ask.given), headers=ask.headers, **kind)


_KNOWN = [*OWNED[OLGA], *OWNED[SAM], "ownerless", "odd", "refused", "down", "nothing", *PROJECTS]
_MALFORMED = [
    *(b"", b" ", b"acme ", b"acme,acme", b"acme,globex", b"acme\0", b"a/b", b"..", b"%61cme"),
    *(b"acm\xe9", b"\xff\xfe", b"acme\r\nX-Instance-ID: globex", b"-acme", b"ACME", b"a" * 65),
]
ids = st.sampled_from([name.encode() for name in _KNOWN] + _MALFORMED) | st.binary(max_size=70)
maybe = st.none() | ids
json_values = st.sampled_from(_KNOWN) | st.text(max_size=70) | st.integers() | st.lists(st.text())
asks = st.builds(
    Ask,
    st.sampled_from(list(OWNED)),
    header=maybe,
    project_header=maybe,
    host=st.none() | st.none() | ids,
    path_instance=maybe,
    path_project=maybe,
    given=st.none() | st.none() | json_values,
)
named_once = st.sampled_from(["header", "path_instance", "host", "given"])
"""The places in which an instance may be named outright."""
