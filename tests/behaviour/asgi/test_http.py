"""HTTP of plain ASGI applications: answers to errors, and headers of what is a tenant's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.core.handlers.asgi import ASGIHandler

from instance_lookup import AccessDenied, ConfigServiceUnavailable, get_resolver
from instance_lookup.asgi import InstanceConfigMiddleware
from tests.support.doors import OLGA, SAM, owned_by
from tests.support.sockets import Socket, scope_of

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService


async def _page(scope: Any, receive: Any, send: Any) -> None:
    config = await scope["instance_config"]()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": config.instance_id.encode()})


async def _fixed(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fixed"})


@pytest.mark.parametrize("application", [_page, _fixed])
async def test_http_is_answered(service: DictConfigService, application: Any) -> None:
    """Clients of plain ASGI applications get what those of Django's views get."""
    wrapped = InstanceConfigMiddleware(application, required=application is _fixed, watch=True)

    async def ask(*names: str, **fields: Any) -> tuple[int, dict[bytes, bytes], bytes]:
        client = Socket(wrapped, scope_of(*names, kind="http", **fields))
        start, body = await client.take(), await client.take()
        await client.ended()
        return start["status"], dict(start["headers"]), body["body"]

    assert (await ask("acme", user=OLGA))[0] == 200
    assert [(await ask(name, user=SAM))[0] for name in ("acme", "unknown", "a,b")] == [
        403,
        404,
        400,
    ]
    service.failure = ConfigServiceUnavailable("down", retry_after=7)
    await get_resolver().ainvalidate_cache("acme")
    status, headers, body = await ask("acme", user=OLGA)
    assert (status, headers[b"retry-after"], headers[b"cache-control"]) == (503, b"7", b"no-store")
    assert headers[b"content-length"] == str(len(body)).encode()
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"vary"] == b"X-Instance-ID, X-Project-ID"
    assert json.loads(body)["request_id"] == "r-1"


@pytest.mark.usefixtures("service")
async def test_caches_are_told_whose_page_it_is() -> None:
    """As the responses of views, those of an application that has read the instance are private."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"Vary", b"Cookie"), (b"vary", b"Origin"), (b"content-type", b"text/plain")]
        if scope["path"] == "/tenant":
            await scope["instance_config"]()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    found = {}
    for path in ("/tenant", "/public"):
        scope = scope_of("acme", kind="http", user=OLGA, path=path)
        client = Socket(InstanceConfigMiddleware(application), scope)
        found[path] = sorted((await client.take())["headers"])
        await client.ended()
    assert found == {
        "/tenant": [
            (b"cache-control", b"private"),
            (b"content-type", b"text/plain"),
            (b"vary", b"Cookie, Origin, X-Instance-ID, X-Project-ID"),
        ],
        "/public": [
            (b"Vary", b"Cookie"),
            (b"content-type", b"text/plain"),
            (b"vary", b"Origin"),
        ],
    }


@pytest.mark.usefixtures("service")
async def test_djangos_own_application_may_be_inside() -> None:
    """Its requests have the lookup of Django's middleware, and its answers."""
    scope = scope_of("acme", kind="http", user=OLGA, path="/aplain")
    client = Socket(InstanceConfigMiddleware(ASGIHandler()), scope)
    await client.put({"type": "http.request", "body": b""})
    start, body = await client.take(), await client.take()
    await client.ended()
    assert start["status"] == 403  # to Django, a session says who it is
    assert json.loads(body["body"])["request_id"] == "r-1"


@pytest.mark.usefixtures("service")
async def test_instance_is_read_before_the_response_begins() -> None:
    """Else its headers would lack what keeps it from others."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await scope["instance_config"]()

    client = Socket(InstanceConfigMiddleware(application), scope_of("acme", kind="http", user=OLGA))
    await client.take()
    with pytest.raises(RuntimeError, match="has begun to stream"):
        await client.ended()


async def test_error_too_late_for_an_answer_is_raised(service: DictConfigService) -> None:
    """The response has begun: the server has to cut it off, or its client takes it for whole."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await scope["instance_config"]()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        service.instances["acme"] = owned_by(SAM)
        await get_resolver().ainvalidate_cache("acme")
        await scope["instance_config"]()

    client = Socket(InstanceConfigMiddleware(application), scope_of("acme", kind="http", user=OLGA))
    assert (await client.take())["status"] == 200
    with pytest.raises(AccessDenied, match="acme"):
        await client.ended()
