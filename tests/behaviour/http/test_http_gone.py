"""Whether a 404 or 410 comes from the Config Service, or from another server in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import ConfigServiceUnavailable, InstanceLookupError, InstanceNotFound
from instance_lookup.backends.http import HttpConfigService
from tests.behaviour.http.queries import http_service, query
from tests.support.servers import Answer, Fault, ScriptedServer, drip, endless, send
from tests.support.waiting import within

if TYPE_CHECKING:
    from tests.support.servers import Script

PROBLEM = b'{"title": "Not Found", "status": 404}'
PAGE = b"<!doctype html><title>404 Not Found</title>"
HEAD = b"HTTP/1.1 404 Not Found\r\n"

OWN: dict[str, tuple[bytes, str | None]] = {
    "json": (PROBLEM, "application/json"),
    "problem": (PROBLEM, "application/problem+json"),
    "vendor": (PROBLEM, "application/vnd.example.error+json"),
    "charset": (PROBLEM, "application/json; charset=utf-8"),
    "case and blanks": (PROBLEM, " Application/JSON ;charset=UTF-8"),
    "case of the suffix": (PROBLEM, "application/Problem+JSON"),
    "a string": (b'"no such instance"', "application/json"),
    "null": (b"null\n", "application/json"),
    "byte order mark": (b"\xef\xbb\xbf" + PROBLEM, "application/json"),
    "no type": (PROBLEM, None),
    "nothing": (b"", None),
    "nothing, said to be json": (b"", "application/json"),
    "nothing, said to be a page": (b"", "text/html"),
}
FOREIGN: dict[str, tuple[bytes, str | None]] = {
    "page": (PAGE, "text/html"),
    "page with a charset": (PAGE, "text/html; charset=utf-8"),
    "page said to be json": (PAGE, "application/json"),
    "page without a type": (PAGE, None),
    "ingress": (b"default backend - 404", "text/plain; charset=utf-8"),
    "go": (b"404 page not found\n", "text/plain; charset=utf-8"),
    "number in a text": (b"404", "text/plain"),
    "json said to be text": (PROBLEM, "text/plain"),
    "json said to be a page": (PROBLEM, "text/html"),
    "xml": (b"<Error><Code>NoSuchKey</Code></Error>", "application/xml"),
    "half of it": (b'{"title": "Not', "application/json"),
    "more than it": (PROBLEM + b"<p>", "application/json"),
    "blank": (b" ", "application/json"),
    "nested": (b"[" * 100_000, "application/json"),
    "json in name only": (PAGE, "application/jsonp"),
    "two types": (PROBLEM, "text/html, application/json"),
}


def headers_of(kind: str | None) -> dict[str, str]:
    return {} if kind is None else {"Content-Type": kind}


def error(script: Script, *, kind: str = "instance", **options: Any) -> InstanceLookupError:
    with ScriptedServer(script) as server:
        service = http_service(server.url, **options)
        with pytest.raises(InstanceLookupError) as caught:
            getattr(service, f"get_{kind}")("acme", query())
    return caught.value


@pytest.mark.parametrize("kind", ["instance", "project"])
@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize(("body", "media_type"), OWN.values(), ids=OWN)
def test_own_word_is_believed(body: bytes, media_type: str | None, status: int, kind: str) -> None:
    """A 404 with JSON or without a body is believed, as the contract says."""
    found = error(Answer(status, body, headers_of(media_type)), kind=kind)
    assert isinstance(found, InstanceNotFound)
    assert found.details == {f"{kind}_id": "acme"}
    assert f"({status})" in str(found)


@pytest.mark.parametrize("kind", ["instance", "project"])
@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize(("body", "media_type"), FOREIGN.values(), ids=FOREIGN)
def test_word_of_something_else_is_a_failure(
    body: bytes, media_type: str | None, status: int, kind: str
) -> None:
    """A 404 of another kind (a wrong path, an ingress) says nothing about a tenant."""
    found = error(Answer(status, body, headers_of(media_type)), kind=kind)
    assert isinstance(found, ConfigServiceUnavailable)
    assert found.details == {
        "reason": "not_the_service",
        "status": status,
        f"{kind}_id": "acme",
    }


def test_failure_tells_where_and_what() -> None:
    """The error names URL, status and type, and shows nothing of the body."""
    with ScriptedServer(Answer(404, PAGE, {"Content-Type": "text/html"})) as server:
        service = HttpConfigService(url=f"{server.url}/wrong/")
        with pytest.raises(ConfigServiceUnavailable) as caught:
            service.get_instance("acme", query())
        assert str(caught.value) == (
            f"The Config Service at {server.url}/wrong gave no usable answer for instance 'acme': "
            "not_the_service (404, and the body is not JSON: 'text/html')."
        )


def test_long_type_is_cut() -> None:
    """A very long header of the service is cut in the error message."""
    found = error(Answer(404, PAGE, {"Content-Type": "x" * 5000}))
    assert len(str(found)) < 400


def test_body_in_chunks_is_read() -> None:
    """A 404 with a chunked body is read, as most frameworks send it."""
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PROBLEM), PROBLEM)
    head = HEAD + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert isinstance(error(send(head + chunks)), InstanceNotFound)


def test_no_chunks_are_an_empty_body() -> None:
    """A chunked body without chunks is an empty body."""
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert isinstance(error(send(head)), InstanceNotFound)


def test_no_body_until_the_end_is_an_empty_body() -> None:
    """A body without a length, as HTTP/1.0 sends it, may be empty."""
    assert isinstance(error(send(b"HTTP/1.0 404 Not Found\r\n\r\n")), InstanceNotFound)


CUT: dict[str, Fault] = {
    "length": send(HEAD + b"Content-Length: 999\r\n\r\n"),
    "half the json": send(HEAD + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{}"),
    "chunks": send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"),
}


@pytest.mark.parametrize("script", CUT.values(), ids=CUT)
def test_body_cut_short_is_a_failure(script: Fault) -> None:
    """A 404 whose body is cut short is a failure, not a deletion."""
    found = error(script)
    assert isinstance(found, ConfigServiceUnavailable)
    assert found.details["reason"] == "unreachable"


def test_endless_body_is_not_read_to_its_end() -> None:
    """A 404's body over CONFIG_SERVICE_MAX_BYTES is read no further, and not believed."""
    script = endless(HEAD + b"Content-Type: application/json\r\n\r\n")
    assert error(script, max_bytes=100_000).details["reason"] == "not_the_service"


def test_body_that_is_too_long_is_not_read() -> None:
    """A 404 whose length is over CONFIG_SERVICE_MAX_BYTES is not read."""
    found = error(
        Answer(404, b'"%s"' % (b"x" * 5000), headers_of("application/json")), max_bytes=99
    )
    assert found.details["reason"] == "not_the_service"


def test_encoded_body_is_a_failure() -> None:
    """A 404 with gzip, which was not asked for, is a failure and not believed."""
    encoded = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert error(Answer(404, PROBLEM, encoded)).details["reason"] == "not_the_service"


def test_dripping_body_ends_at_the_deadline() -> None:
    """A body that never ends is given up at the deadline, as any other answer is."""
    head = HEAD + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    with (
        ScriptedServer(drip(b" " * 1000, first=head)) as server,
        within(0.3),
        pytest.raises(ConfigServiceUnavailable) as caught,
    ):
        http_service(server.url).get_instance("acme", query(0.3))
    assert caught.value.details["reason"] == "timeout"


def test_connection_is_used_again() -> None:
    """After a 404 the connection is used again."""
    with ScriptedServer(Answer(404, PROBLEM, headers_of("application/json"))) as server:
        service = http_service(server.url)
        for _ in range(3):
            with pytest.raises(InstanceNotFound):
                service.get_instance("acme", query())
        assert server.connections == 1


@pytest.mark.parametrize("body", [b"", PROBLEM, PAGE, b'{"instances": ["a"]}'])
def test_list_that_is_missing_is_as_ever(body: bytes) -> None:
    """A 404 for the list is a plain error, with each kind of body."""
    answer = Answer(404, body, headers_of("application/json"))
    with ScriptedServer(answer) as server, pytest.raises(ConfigServiceUnavailable) as caught:
        http_service(server.url).list_instances(query())
    assert caught.value.details == {"reason": "client_error", "status": 404}
