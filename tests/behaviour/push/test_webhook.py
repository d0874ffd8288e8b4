"""What a delivery is answered with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from django.db import connections
from django.http import HttpRequest
from django.test import AsyncClient, Client, override_settings

from instance_lookup import Source, get_resolver
from tests.support.lookups import bucket
from tests.support.webhook import (
    OTHER,
    URL,
    deliver,
    event,
    refreshed,
    site,
)

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings


TYPES = ["instance.updated", "instance.deleted", "instance.revoked"]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("event_type", TYPES)
@pytest.mark.usefixtures("a_site")
def test_answer_confirms_no_id(event_type: str, known: bool) -> None:
    """The answer is the same whether an instance exists, is cached, or neither."""
    if known:
        bucket(get_resolver())
    response = deliver(event(event_type, instance_id="acme" if known else "nowhere"))
    found = response.status_code, response.content, dict(response.headers)
    assert found == (204, b"", {"Cache-Control": "no-store"})
    refreshed()


@pytest.mark.usefixtures("a_site")
def test_unknown_type(is_async: bool) -> None:
    """What this release does not know is taken, and does nothing."""
    response = deliver(event("instance.archived"), is_async=is_async)
    assert (response.status_code, response.content) == (202, b"")


@pytest.mark.usefixtures("a_site")
def test_malformed_event() -> None:
    """A signed delivery that is no event is refused, in words."""
    response = deliver(event("instance.updated", instance_id="no id"))
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert response["Cache-Control"] == "no-store"
    assert response.json() == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "data of 'instance.updated': instance_id is 'no id', which is no id",
        "request_id": response.json()["request_id"],
    }


@pytest.mark.usefixtures("a_site")
def test_bad_signature(is_async: bool) -> None:
    """A forged delivery is refused, and the copy stays."""
    bucket(get_resolver())
    response = deliver(event("instance.deleted", secret=OTHER), is_async=is_async)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Webhook-Signature"
    assert response.json()["detail"] == "webhook-signature matches none of WEBHOOK_SECRETS"
    assert bucket(get_resolver()) == ("first", Source.CACHE)


@pytest.mark.usefixtures("a_site")
def test_headers_of_any_kind() -> None:
    """Headers that are no text are no error of the site."""
    sent = event()
    for value in ("\x80\xff", "\u20ac", "v1,\u20ac", ""):
        assert deliver(sent, others={"webhook-signature": value}).status_code == 401
        assert deliver(sent, others={"webhook-id": value}).status_code == 401


@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "options", "patch"])
@pytest.mark.usefixtures("a_site")
def test_other_methods(method: str) -> None:
    """Deliveries are posted."""
    response = getattr(Client(), method)(URL)
    assert (response.status_code, response["Allow"]) == (405, "POST")


def test_no_secrets() -> None:
    """Without secrets there is no webhook, whatever is delivered."""
    with site(WEBHOOK_SECRETS=()):
        assert deliver(event()).status_code == 404


def test_body_too_long(is_async: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that is said to be too long is not read."""

    def read(*args: object) -> bytes:
        raise AssertionError("it was read")

    with site():
        monkeypatch.setattr("django.http.request.HttpRequest.read", read)
        sent = event()._replace(body=b" " * 65_537)
        assert deliver(sent, is_async=is_async).status_code == 413


def test_longest_body() -> None:
    """A body of 64 KiB is taken, though the site takes no forms of that length."""
    with site(), override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=100):
        sent = event(
            "instance.deleted", more="x" * (65_536 - len(event("instance.deleted", more="").body))
        )
        assert len(sent.body) == 65_536
        assert deliver(sent).status_code == 204


async def test_body_of_unknown_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a length, as in chunks, no more is read than the limit."""
    asked: list[int] = []
    really = HttpRequest.read

    def read(request: HttpRequest, size: int) -> bytes:
        asked.append(size)
        body: bytes = really(request, size)
        return body

    monkeypatch.setattr(HttpRequest, "read", read)
    with site():
        for length, status in ((65_536, 401), (65_537, 413)):
            response: Any = await AsyncClient().post(
                URL, b"x" * length, content_type="application/json", CONTENT_LENGTH=""
            )
            assert response.status_code == status
    assert set(asked) == {65_537}  # once or twice: clients of Django's tests differ


@pytest.mark.parametrize("length", ["-1", "x", "٣", "1" * 5000, ""])
def test_length_of_any_kind(length: str) -> None:
    """A length that is none, or not that of the body, is no error of the site."""
    with site():
        sent = event()
        response = Client().post(
            URL, sent.body, content_type="application/json", CONTENT_LENGTH=length
        )
        assert response.status_code in {400, 401, 411, 413}


@pytest.mark.usefixtures("a_site")
@pytest.mark.django_db
def test_site_that_guards_all_views(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    """Neither CSRF, nor a log-in for each page, nor a transaction around each one is in the way."""
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    client: Any = Client(enforce_csrf_checks=True)
    sent = event()
    response = client.post(URL, sent.body, content_type="application/json", headers=sent.headers)
    assert response.status_code == 204
    assert client.get("/ops/health/").status_code == 200
    assert deliver(event(), is_async=is_async).status_code == 204


def test_without_our_middleware(settings: Settings) -> None:
    """The webhook needs no middleware."""
    settings.MIDDLEWARE = []
    with site():
        assert deliver(event()).status_code == 204


def test_body_ends_early() -> None:
    """A sender who hangs up in the middle is no error of the site."""
    broken = Mock(**{"read.side_effect": OSError("gone")})
    extra: dict[str, Any] = {"wsgi.input": broken, "CONTENT_LENGTH": "9"}
    with site():
        response = Client().generic("POST", URL, **extra)
    assert (response.status_code, response.json()["detail"]) == (400, "The body ended early.")
