from __future__ import annotations

import json
import os
from importlib import metadata
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import responses
from django.core.exceptions import ImproperlyConfigured

from instance_lookup.backends.base import Document, NotModified, Page, Query
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.exceptions import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
    InvalidContext,
)
from tests.behaviour.http.leaks import shown
from tests.behaviour.http.queries import http_service, query
from tests.support.servers import Answer, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from requests import Session

URL = "http://service.example/api"
TOKEN = "token-very-secret"
KEY = "sk-very-secret"


@pytest.fixture
def mock() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def service() -> HttpConfigService:
    return http_service(URL, token=TOKEN)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(Answer(200, b"{}")) as server:
        yield server


def failure(service: HttpConfigService, asked: Query | None = None) -> InstanceLookupError:
    with pytest.raises(InstanceLookupError) as caught:
        service.get_instance("acme", asked or query())
    return caught.value


# --- answers ------------------------------------------------------------------------------------


def test_200_is_a_document(mock: responses.RequestsMock, service: HttpConfigService) -> None:
    """Body and ETag come back as they are; whether it is a configuration is judged elsewhere."""
    mock.get(f"{URL}/instances/acme", body=b"<html>", headers={"ETag": 'W/"v1"'})
    assert service.get_instance("acme", query()) == Document(b"<html>", 'W/"v1"')


def test_200_of_a_project_is_a_document(
    mock: responses.RequestsMock, service: HttpConfigService
) -> None:
    """A project is asked for at its own path."""
    mock.get(f"{URL}/projects/website", body=b"{}")
    assert service.get_project("website", query()) == Document(b"{}", None)


def test_304_with_a_copy_held_is_not_modified(
    mock: responses.RequestsMock, service: HttpConfigService
) -> None:
    """The copy that the ETag names is the current one."""
    mock.get(f"{URL}/instances/acme", status=304)
    assert isinstance(service.get_instance("acme", query(etag='"v1"')), NotModified)


@pytest.mark.parametrize("etag", [None, "", "v1", '"a"b"', '"a\r\nX: y"', '"é"', f'"{"x" * 257}"'])
def test_304_without_a_valid_etag_is_a_failure(
    mock: responses.RequestsMock, service: HttpConfigService, etag: str | None
) -> None:
    """An ETag that cannot be sent is left out, and then a 304 is a failure."""
    mock.get(f"{URL}/instances/acme", status=304)
    error = failure(service, query(etag=etag))
    assert isinstance(error, ConfigServiceUnavailable)
    assert error.details["reason"] == "rejected"
    assert "If-None-Match" not in mock.calls[0].request.headers


def test_invalid_etag_of_an_answer_is_dropped(
    mock: responses.RequestsMock, service: HttpConfigService
) -> None:
    """An ETag that could not be sent back is not kept."""
    mock.get(f"{URL}/instances/acme", body=b"{}", headers={"ETag": "v1"})
    assert service.get_instance("acme", query()) == Document(b"{}", None)


def test_403_is_denied(mock: responses.RequestsMock, service: HttpConfigService) -> None:
    """A 403 means that this user may not have the instance."""
    mock.get(f"{URL}/instances/acme", status=403)
    error = failure(service)
    assert isinstance(error, AccessDenied)
    assert error.details == {"instance_id": "acme"}


@pytest.mark.parametrize("status", [404, 410])
def test_404_and_410_are_not_found(
    mock: responses.RequestsMock, service: HttpConfigService, status: int
) -> None:
    """The instance does not exist, or no longer."""
    mock.get(f"{URL}/instances/acme", status=status)
    error = failure(service)
    assert isinstance(error, InstanceNotFound)
    assert error.details == {"instance_id": "acme"}
    assert "'acme'" in str(error)


def test_404_of_a_project_is_not_found(
    mock: responses.RequestsMock, service: HttpConfigService
) -> None:
    """The error names the project, and no instance."""
    mock.get(f"{URL}/projects/website", status=404)
    with pytest.raises(InstanceNotFound, match="project 'website'") as caught:
        service.get_project("website", query())
    assert caught.value.details == {"project_id": "website"}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (201, "rejected"),
        (204, "rejected"),
        (206, "rejected"),
        (301, "redirect"),
        (302, "redirect"),
        (303, "redirect"),
        (307, "redirect"),
        (308, "redirect"),
        (400, "client_error"),
        (401, "credential"),
        (405, "client_error"),
        (408, "status"),
        (418, "client_error"),
        (425, "status"),
        (429, "rate_limited"),
        (431, "client_error"),
        (500, "status"),
        (502, "status"),
        (503, "status"),
        (504, "status"),
        (599, "status"),
        (700, "status"),
    ],
)
def test_other_answers_are_unavailable(
    mock: responses.RequestsMock, service: HttpConfigService, status: int, reason: str
) -> None:
    """Each with a reason by which the resolver counts and logs."""
    mock.get(f"{URL}/instances/acme", status=status, body=KEY, headers={"Location": "http://x/"})
    error = failure(service)
    assert isinstance(error, ConfigServiceUnavailable)
    assert error.details == {"reason": reason, "status": status, "instance_id": "acme"}
    assert error.retry_after is None
    assert "'acme'" in str(error)
    assert TOKEN not in shown(error)
    assert KEY not in shown(error)


@pytest.mark.parametrize(
    ("status", "seconds"), [(429, 7.0), (503, 7.0), (500, None), (408, None), (404, None)]
)
def test_retry_after_is_that_of_429_and_503(
    mock: responses.RequestsMock, service: HttpConfigService, status: int, seconds: float | None
) -> None:
    """Other answers do not say when to come back."""
    mock.get(f"{URL}/instances/acme", status=status, headers={"Retry-After": "7"})
    assert getattr(failure(service), "retry_after", None) == seconds


# --- the list -----------------------------------------------------------------------------------


def test_list_is_a_page(mock: responses.RequestsMock, service: HttpConfigService) -> None:
    """Ids and the cursor of the next page; no ETag is sent, for no list is held."""
    mock.get(f"{URL}/instances", json={"instances": ["a", {"instance_id": "b"}], "next": "c 2"})
    assert service.list_instances(query(etag='"v1"')) == Page(("a", "b"), "c 2")
    assert "If-None-Match" not in mock.calls[0].request.headers


def test_list_continues_at_the_cursor(server: ScriptedServer) -> None:
    """The cursor is opaque and quoted as such."""
    server.answers = Answer(200, b'{"instances": ["a"]}')
    assert http_service(server.url).list_instances(query(), "a&b=c/é") == Page(("a",), None)
    assert server.received[0].path == "/instances?cursor=a%26b%3Dc%2F%C3%A9"


def test_list_of_another_shape_is_rejected(
    mock: responses.RequestsMock, service: HttpConfigService
) -> None:
    """The error for a list of another shape shows nothing of its body."""
    mock.get(f"{URL}/instances", json={"instances": [{"api_keys": KEY}]})
    with pytest.raises(ConfigServiceUnavailable) as caught:
        service.list_instances(query())
    assert caught.value.details == {"reason": "rejected", "status": 200}
    assert KEY not in shown(caught.value)


def test_list_that_is_missing_is_no_missing_instance(
    mock: responses.RequestsMock, service: HttpConfigService
) -> None:
    """A service without a list is asked wrongly; no tenant is deleted by that."""
    mock.get(f"{URL}/instances", status=404)
    with pytest.raises(ConfigServiceUnavailable) as caught:
        service.list_instances(query())
    assert caught.value.details == {"reason": "client_error", "status": 404}


def test_list_that_is_denied_is_denied(
    mock: responses.RequestsMock, service: HttpConfigService
) -> None:
    """A 403 for the list is an ``AccessDenied``."""
    mock.get(f"{URL}/instances", status=403)
    with pytest.raises(AccessDenied, match="the list of instances"):
        service.list_instances(query())


# --- what is sent -------------------------------------------------------------------------------


def test_request_carries_the_agreed_headers(server: ScriptedServer) -> None:
    """Section by section the contract with the service."""
    asked = query(user_id="u1", etag='"v1"', request_id="req-7")
    http_service(server.url, token=TOKEN).get_instance("acme", asked)
    headers = server.received[0].headers
    expected = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Authorization": f"Bearer {TOKEN}",
        "If-None-Match": '"v1"',
        "X-Request-ID": "req-7",
        "X-User-ID": "u1",
    }
    assert {name: headers[name] for name in expected} == expected
    assert headers["User-Agent"].startswith("instance-lookup/")


def test_request_without_token_user_and_copy_carries_no_such_header(
    server: ScriptedServer,
) -> None:
    """Headers without a value are left out, not sent empty."""
    http_service(server.url).get_instance("acme", query(user_id=""))
    headers = server.received[0].headers
    for name in ("Authorization", "X-User-ID", "If-None-Match", "Cookie"):
        assert headers[name] is None


@pytest.mark.parametrize(
    ("user_id", "sent"),
    [
        ("me@example.com", "me@example.com"),
        ("a|b\"c'd\\e", "a|b\"c'd\\e"),
        ("jörg", "j%C3%B6rg"),
        ("j%C3%B6rg", "j%25C3%25B6rg"),
        (" padded ", "%20padded%20"),
        ("a\r\nX-Admin: 1", "a%0D%0AX-Admin:%201"),
        ("\x00\x7f", "%00%7F"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_user_id_cannot_inject_or_collide(server: ScriptedServer, user_id: str, sent: str) -> None:
    """Each user id is encoded into one header value, and different ids into different ones."""
    http_service(server.url).get_instance("acme", query(user_id=user_id, request_id=user_id))
    headers = server.received[0].headers
    assert (headers["X-User-ID"], headers["X-Request-ID"]) == (sent, sent)
    assert headers["X-Admin"] is None


@pytest.mark.parametrize(
    ("instance_id", "path"),
    [
        ("acme", "/api/instances/acme"),
        ("a/b", "/api/instances/a%2Fb"),
        ("a?b#c", "/api/instances/a%3Fb%23c"),
        ("a%2Fb", "/api/instances/a%252Fb"),
        ("../x", "/api/instances/..%2Fx"),
        ("%2e%2e", "/api/instances/%252e%252e"),
        ("~é", "/api/instances/~%C3%A9"),
        ("\ud800", "/api/instances/%ED%A0%80"),
    ],
)
def test_id_is_one_path_segment(server: ScriptedServer, instance_id: str, path: str) -> None:
    """No id reaches another resource of the service."""
    http_service(f"{server.url}/api/").get_instance(instance_id, query())
    assert server.received[0].path == path


@pytest.mark.parametrize("instance_id", ["", ".", ".."])
def test_id_that_is_no_path_segment_is_refused(server: ScriptedServer, instance_id: str) -> None:
    """requests resolves dots even when they are quoted: nothing is sent."""
    with pytest.raises(InvalidContext) as caught:
        http_service(server.url).get_instance(instance_id, query())
    assert caught.value.instance_id == instance_id
    assert server.connections == 0


def test_environment_is_ignored(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither a proxy nor a .netrc of the environment is used."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    http_service(server.url, token=TOKEN).get_instance("acme", query())
    assert server.received[0].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(("installed", "version"), [(True, "1.2.3"), (False, "0")])
def test_user_agent_names_the_version(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, installed: bool, version: str
) -> None:
    """A checkout that is not installed has none, and works."""

    def find(name: str) -> str:
        if installed:
            return "1.2.3"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", find)
    http_service(server.url).get_instance("acme", query())
    assert server.received[0].headers["User-Agent"] == f"instance-lookup/{version}"


# --- construction -------------------------------------------------------------------------------


def test_settings_become_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each CONFIG_SERVICE_ setting reaches the option of its name."""
    options: dict[str, Any] = {
        "url": URL,
        "token": TOKEN,
        "max_bytes": 9,
        "ca_bundle": "/ca.pem",
        "client_cert": ("/cert.pem", "/key.pem"),
        "proxy": "http://proxy.example:3128",
    }
    seen: dict[str, Any] = {}
    monkeypatch.setattr(HttpConfigService, "__init__", lambda self, **given: seen.update(given))
    settings: Any = SimpleNamespace(**{f"config_service_{k}": v for k, v in options.items()})
    HttpConfigService.from_settings(settings)
    assert seen == options


@pytest.mark.parametrize("url", [None, ""])
def test_url_is_required(url: str | None) -> None:
    """The error for a missing URL names the setting."""
    with pytest.raises(ImproperlyConfigured, match="CONFIG_SERVICE_URL"):
        HttpConfigService(url=url)


@pytest.mark.parametrize("token", [f"{TOKEN}\n", f"{TOKEN} x", f"{TOKEN}é", f"{TOKEN}\x00"])
def test_token_that_no_header_can_carry_is_an_error(token: str) -> None:
    """A secret file with a line break at its end is told at once, without the secret."""
    with pytest.raises(ImproperlyConfigured, match="CONFIG_SERVICE_TOKEN") as caught:
        HttpConfigService(url=URL, token=token)
    assert TOKEN not in str(caught.value)


def test_nothing_is_made_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session belongs to the process that asks, not to the one that imports."""
    made: list[Session] = []

    class Counting(HttpConfigService):
        def make_session(self) -> Session:
            made.append(super().make_session())
            return made[-1]

    with ScriptedServer(Answer(200, b"{}")) as server:
        service = Counting(url=server.url)
        assert made == []
        service.get_instance("acme", query())
        service.get_instance("acme", query())
        assert len(made) == 1
        monkeypatch.setattr(os, "getpid", lambda: -1)  # as after a fork
        service.get_instance("acme", query())
        assert len(made) == 2
        assert [request.connection for request in server.received] == [1, 1, 2]


def test_subclass_may_send_another_credential(server: ScriptedServer) -> None:
    """A subclass may send another credential by overriding `make_session`."""

    class WithApiKey(HttpConfigService):
        def make_session(self) -> Session:
            session = super().make_session()
            session.headers["X-Api-Key"] = KEY
            return session

    assert isinstance(WithApiKey(url=server.url).get_instance("acme", query()), Document)
    assert server.received[0].headers["X-Api-Key"] == KEY


def test_service_shows_no_token() -> None:
    """The backend's repr shows no token."""
    assert TOKEN not in repr(http_service(URL, token=TOKEN))


def test_document_is_the_body_to_the_byte(server: ScriptedServer) -> None:
    """The document is the body of the answer, byte for byte."""
    body = json.dumps({"name": "é", "n": 1.50}, ensure_ascii=False).encode() + b"\n"
    server.answers = Answer(200, body)
    assert http_service(server.url).get_instance("acme", query()) == Document(body, None)
