"""A service whose paths or documents are others: ``path_of`` and ``parse``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from instance_lookup import InstanceResolver, LookupContext, LookupUser
from instance_lookup.backends.base import Document, NotModified, Page
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.exceptions import ConfigServiceUnavailable, InvalidContext
from tests.behaviour.http.leaks import shown
from tests.behaviour.http.queries import query
from tests.support.servers import Answer, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "sk-very-secret"
WRAPPED = json.dumps({"data": {"instanceId": "acme", "apiKeys": {"render": KEY}}}).encode()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(Answer(200, b"{}", {"ETag": '"1"'})) as server:
        yield server


def with_path(server: ScriptedServer, path_of: Callable[[str, str], Any]) -> HttpConfigService:
    class Elsewhere(HttpConfigService):
        def path_of(self, kind: str, id: str) -> str:  # noqa: A002  # as in the base class
            path: str = path_of(kind, id)
            return path

    return Elsewhere(url=f"{server.url}/api")


def with_parse(server: ScriptedServer, parse: Callable[[str, bytes], Any]) -> HttpConfigService:
    class Reshaped(HttpConfigService):
        def parse(self, kind: str, body: bytes) -> Any:
            return parse(kind, body)

    return Reshaped(url=server.url, token=KEY)


# --- paths --------------------------------------------------------------------------------------


def test_path_is_that_of_the_override(server: ScriptedServer) -> None:
    """``path_of`` gives the path of an instance, a project and the list."""
    server.answers = Answer(200, b'{"instances": []}')
    service = with_path(server, lambda kind, name: f"/v2/{kind}/{quote(name, safe='')}/config/")
    service.get_instance("acme", query())
    service.get_project("web", query())
    assert [request.path for request in server.received] == [
        "/api/v2/instance/acme/config/",
        "/api/v2/project/web/config/",
    ]


def test_path_of_the_list_goes_with_its_cursor(server: ScriptedServer) -> None:
    """The cursor is added to the list's path."""
    server.answers = Answer(200, b'{"instances": ["a"], "next": "c 3"}')
    service = with_path(server, lambda kind, name: {"list": "/v2/tenants"}[kind])
    assert service.list_instances(query(), "c2") == Page(("a",), "c 3")
    assert server.received[0].path == "/api/v2/tenants?cursor=c2"


def test_path_may_go_on_from_the_default_one(server: ScriptedServer) -> None:
    """The default ``path_of`` encodes the id, so an override can build on it."""
    service = HttpConfigService(url=server.url)
    assert service.path_of("instance", "a/b") == "/instances/a%2Fb"
    assert service.path_of("project", "é") == "/projects/%C3%A9"
    assert service.path_of("list", "") == "/instances"


@pytest.mark.parametrize(
    "instance_id", ["", ".", "..", "../x", "a/b", "a?b", "a#b", "a b", "a%2Fb", "é"]
)
def test_id_that_an_override_does_not_encode_leads_nowhere_else(
    server: ScriptedServer, instance_id: str
) -> None:
    """When an override does not encode an id that needs it, no request is sent."""
    service = with_path(server, lambda kind, name: f"/v2/{name}/config")
    with pytest.raises((InvalidContext, ConfigServiceUnavailable)) as caught:
        service.get_instance(instance_id, query())
    assert caught.value.details["instance_id"] == instance_id
    assert server.connections == 0


@pytest.mark.parametrize(
    "path", ["/../admin", "/v2/../../x", "/v2/./x", "/%2e%2e/x", "/v2/é", "/v2?x=1", "/v2#x"]
)
def test_path_that_requests_would_change_is_refused(server: ScriptedServer, path: str) -> None:
    """A path with dots is refused: requests would change it, even when they are quoted."""
    with pytest.raises(InvalidContext, match="'acme'"):
        with_path(server, lambda kind, name: path).get_instance("acme", query())
    assert server.connections == 0


@pytest.mark.parametrize(
    "path", ["", "x", ".evil.example/x", "@evil.example/x", ":1/x", None, 5, b"/x"]
)
def test_path_without_a_slash_is_rejected(server: ScriptedServer, path: Any) -> None:
    """A path without a slash is rejected: it would change the host, and send the token there."""
    with pytest.raises(ConfigServiceUnavailable) as caught:
        with_path(server, lambda kind, name: path).get_instance("acme", query())
    assert caught.value.details["reason"] == "rejected"
    assert server.connections == 0


def test_path_of_that_raises_is_rejected(server: ScriptedServer) -> None:
    """When ``path_of`` raises, the answer is rejected and the error names the method."""

    def fail(kind: str, name: str) -> str:
        raise LookupError(KEY)

    with pytest.raises(ConfigServiceUnavailable) as caught:
        with_path(server, fail).get_instance("acme", query())
    assert caught.value.details == {
        "reason": "rejected",
        "error": "LookupError in Elsewhere.path_of",
        "instance_id": "acme",
    }
    assert KEY not in shown(caught.value)


# --- documents ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parse",
    [
        lambda kind, body: b'{"a": 1}',
        lambda kind, body: '{"a": 1}',
        lambda kind, body: {"a": 1},
    ],
    ids=["bytes", "text", "object"],
)
def test_document_is_that_of_the_override(
    server: ScriptedServer, parse: Callable[[str, bytes], Any]
) -> None:
    """``parse`` may return JSON or plain data; the ETag is still the service's."""
    answer = with_parse(server, parse).get_instance("acme", query())
    assert isinstance(answer, Document)
    assert json.loads(answer.body) == {"a": 1}
    assert answer.etag == '"1"'


def test_document_of_a_project_too(server: ScriptedServer) -> None:
    """``parse`` is told the kind, and gets the body unchanged, for projects too."""
    server.answers = Answer(200, b' {"x":1.50} ')
    seen: list[tuple[str, bytes]] = []

    def parse(kind: str, body: bytes) -> bytes:
        seen.append((kind, body))
        return body

    service = with_parse(server, parse)
    service.get_instance("acme", query())
    service.get_project("web", query())
    assert seen == [("instance", b' {"x":1.50} '), ("project", b' {"x":1.50} ')]


def test_only_the_body_of_a_200_is_parsed(server: ScriptedServer) -> None:
    """``parse`` is called only with the body of a 200."""

    def fail(kind: str, body: bytes) -> bytes:
        raise AssertionError

    service = with_parse(server, fail)
    server.answers = Answer(304)
    assert isinstance(service.get_instance("acme", query(etag='"1"')), NotModified)
    server.answers = Answer(500, WRAPPED)
    with pytest.raises(ConfigServiceUnavailable) as caught:
        service.get_instance("acme", query())
    assert caught.value.details["reason"] == "status"


def fails(kind: str, body: bytes) -> Any:
    raise KeyError(body)


def chained(kind: str, body: bytes) -> Any:
    try:
        return json.loads(body)["nothing"]
    except KeyError as exc:
        raise RuntimeError(body.decode()) from exc


def endless(kind: str, body: bytes) -> Any:
    itself: list[Any] = [body]
    itself.append(itself)
    return itself


UNUSABLE: dict[str, tuple[Callable[[str, bytes], Any], str]] = {
    "raises": (fails, "KeyError"),
    "raises another": (chained, "RuntimeError"),
    "is no JSON": (lambda kind, body: json.loads(b"%" + body), "JSONDecodeError"),
    "cannot be JSON": (lambda kind, body: {"x": object(), "y": body}, "TypeError"),
    "is endless": (endless, "RecursionError"),
}


@pytest.mark.parametrize(("parse", "error"), UNUSABLE.values(), ids=UNUSABLE)
def test_parse_that_fails_is_a_rejected_answer(
    server: ScriptedServer, parse: Callable[[str, bytes], Any], error: str
) -> None:
    """When ``parse`` fails the answer is rejected, and nothing of the body is shown."""
    server.answers = Answer(200, WRAPPED)
    with pytest.raises(ConfigServiceUnavailable) as caught:
        with_parse(server, parse).get_instance("acme", query())
    assert caught.value.details == {
        "reason": "rejected",
        "status": 200,
        "error": f"{error} in Reshaped.parse",
        "instance_id": "acme",
    }
    assert KEY not in shown(caught.value)


def test_parse_that_fails_shows_no_key_in_the_log(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """When ``parse`` fails neither the lookup's error nor the log shows a key."""
    server.answers = Answer(200, WRAPPED)
    resolver = InstanceResolver(config_service_backend=with_parse(server, chained))
    with pytest.raises(ConfigServiceUnavailable) as caught:
        resolver.resolve(LookupContext(LookupUser.service(), instance_id="acme"))
    assert KEY not in shown(caught.value)
    assert "RuntimeError in Reshaped.parse" in caplog.text
    assert KEY not in caplog.text


def test_reshaped_document_is_judged_like_any_other(server: ScriptedServer) -> None:
    """A document that ``parse`` returns is checked: another tenant's is rejected."""
    service = with_parse(server, lambda kind, body: {"instance_id": "globex"})
    resolver = InstanceResolver(config_service_backend=service)
    with pytest.raises(ConfigServiceUnavailable) as caught:
        resolver.resolve(LookupContext(LookupUser.service(), instance_id="acme"))
    assert caught.value.details["reason"] == "rejected"
