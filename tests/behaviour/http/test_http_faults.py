from __future__ import annotations

import tracemalloc

import pytest
from django.core.exceptions import ImproperlyConfigured

from instance_lookup.backends.base import Document, NotModified
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.exceptions import ConfigServiceUnavailable
from tests.behaviour.http.leaks import shown
from tests.behaviour.http.queries import http_service, query
from tests.support.servers import (
    SLOW,
    Answer,
    Fault,
    ScriptedServer,
    black_hole,
    drip_body,
    encode,
    endless,
    free_port,
    gzip_bomb,
    redirect,
    reset,
    send,
    truncated,
)
from tests.support.waiting import wait_until, within

TOKEN = "token-very-secret"
KEY = b"sk-very-secret"
DEADLINE = 0.3


def failure(url: str, seconds: float = 5.0, **options: object) -> ConfigServiceUnavailable:
    """Return the error of a call, which must come in time and without secrets."""
    service = http_service(url, token=TOKEN, **options)
    with within(seconds), pytest.raises(ConfigServiceUnavailable) as caught:
        service.get_instance("acme", query(seconds))
    assert TOKEN not in shown(caught.value)
    assert KEY.decode() not in shown(caught.value)
    return caught.value


@pytest.mark.parametrize("script", SLOW.values(), ids=SLOW)
def test_slow_service_ends_at_the_deadline(script: Answer | Fault) -> None:
    """The deadline bounds the call by the wall clock, however the time is lost."""
    with ScriptedServer(script) as server:
        error = failure(server.url, DEADLINE)
    assert error.details == {
        "reason": "timeout",
        "error": "TimeoutError",
        "instance_id": "acme",
    }


def test_black_hole_ends_at_the_deadline() -> None:
    """A connect that is never answered ends at the deadline."""
    with black_hole() as (host, port):
        assert failure(f"http://{host}:{port}", DEADLINE).details["reason"] == "timeout"


def test_slow_answer_on_a_reused_connection_ends_at_the_deadline() -> None:
    """A slow answer on a reused connection ends at the deadline too."""
    with ScriptedServer(Answer(200, b"{}")) as server:
        service = http_service(server.url)
        service.get_instance("acme", query())
        server.answers = drip_body()
        with within(DEADLINE), pytest.raises(ConfigServiceUnavailable) as caught:
            service.get_instance("acme", query(DEADLINE))
        assert [request.connection for request in server.received] == [1, 1]
    assert caught.value.details["reason"] == "timeout"


def test_passed_deadline_asks_nothing() -> None:
    """A call that has no time left does not open a connection."""
    with ScriptedServer(Answer(200, b"{}")) as server:
        with pytest.raises(ConfigServiceUnavailable) as caught:
            http_service(server.url).get_instance("acme", query(0.0))
        assert server.connections == 0
    assert caught.value.details["reason"] == "timeout"


def test_deadline_covers_the_list_too() -> None:
    """The deadline holds for the list as well."""
    with ScriptedServer(drip_body()) as server, pytest.raises(ConfigServiceUnavailable) as caught:
        http_service(server.url).list_instances(query(DEADLINE))
    assert caught.value.details == {"reason": "timeout", "error": "TimeoutError"}


BROKEN = {
    "reset": (reset(), "ConnectionResetError"),
    "closes": (send(b""), "RemoteDisconnected"),
    "body truncated": (truncated(KEY), "IncompleteRead"),
    "chunk truncated": (
        send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n" + KEY),
        "IncompleteRead",
    ),
    "not HTTP": (send(b"220 " + KEY + b" ESMTP\r\n"), "BadStatusLine"),
    "chunk of a negative size": (
        send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n" + KEY),
        "HTTPException",
    ),
    "chunk without a size": (
        send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + KEY + b"\r\n"),
        "ValueError",
    ),
    "two lengths": (
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n" + KEY),
        "InvalidHeader",
    ),
    "header without end": (send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000), "LineTooLong"),
    "headers without end": (send(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200), "HTTPException"),
}


@pytest.mark.parametrize(("script", "error"), BROKEN.values(), ids=BROKEN)
def test_broken_answer_is_unreachable(script: Fault, error: str) -> None:
    """Details name the kind of error; its text, which may quote the answer, is not shown."""
    with ScriptedServer(script) as server:
        details = failure(server.url).details
    assert details == {"reason": "unreachable", "error": error, "instance_id": "acme"}


def test_refused_connection_is_unreachable() -> None:
    """A refused connection is reported as unreachable."""
    details = failure(f"http://127.0.0.1:{free_port()}").details
    assert (details["reason"], details["error"]) == ("unreachable", "ConnectionRefusedError")


def test_unknown_host_is_unreachable() -> None:
    """A name that DNS cannot even be asked for fails at once (no network is touched)."""
    details = failure(f"http://{'a' * 64}.invalid").details
    assert details["reason"] == "unreachable"


@pytest.mark.parametrize("scheme", ["htp", "https"])
def test_url_with_a_password_is_refused_without_showing_it(scheme: str) -> None:
    """A URL ends up in logs and errors of many libraries; a password in it would too."""
    with pytest.raises(ImproperlyConfigured, match="CONFIG_SERVICE_URL") as caught:
        HttpConfigService(url=f"{scheme}://user:sk-very-secret@service.example")
    assert "sk-very-secret" not in str(caught.value)


def test_redirect_is_not_followed() -> None:
    """A redirect is not followed: our headers would go to the other host."""
    with ScriptedServer() as server, ScriptedServer(Answer(200, b"{}")) as other:
        server.answers = redirect(other.url)
        assert failure(server.url).details["reason"] == "redirect"
        assert other.connections == 0


def test_redirect_body_is_not_read() -> None:
    """The body of a redirect is not read, though requests would read it to its end."""
    head = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n"
    with ScriptedServer(endless(head)) as server:
        assert failure(server.url).details["reason"] == "redirect"


def test_endless_body_of_an_error_is_not_read() -> None:
    """The body of an error response is not read."""
    with ScriptedServer(endless(b"HTTP/1.1 500 Oops\r\n\r\n")) as server:
        assert failure(server.url).details["status"] == 500


def test_gzip_bomb_is_not_unpacked() -> None:
    """A body with another encoding than the one asked for is refused before it is read."""
    with ScriptedServer(gzip_bomb(50)) as server:
        tracemalloc.start()
        try:
            details = failure(server.url).details
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (details["reason"], details["status"]) == ("rejected", 200)
    assert peak < 5 << 20


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("gzip", "gzip"),
        ("BR", "BR"),
        ("gzip, identity", "gzip,?identity"),
        ("a\x1b[31m", "a?[31m"),
        ("x" * 5_000, "x" * 40),
    ],
)
def test_encoding_that_is_refused_is_named(encoding: str, named: str) -> None:
    """The error names the encoding, so that the service's operator knows what to switch off."""
    with ScriptedServer(Answer(200, KEY, {"Content-Encoding": encoding})) as server:
        error = failure(server.url)
    assert str(error).endswith(f"rejected (200, Content-Encoding: {named}).")
    assert error.details["error"] == f"Content-Encoding: {named}"


def test_encoding_of_a_list_that_is_refused_is_named() -> None:
    """The error for a list with a refused encoding names the encoding."""
    with (
        ScriptedServer(Answer(200, KEY, {"Content-Encoding": "gzip"})) as server,
        pytest.raises(ConfigServiceUnavailable, match="Content-Encoding: gzip"),
    ):
        http_service(server.url).list_instances(query())


def test_encoding_of_an_error_is_not_its_reason() -> None:
    """The encoding of an error response does not matter, since its body is not read."""
    with ScriptedServer(Answer(500, KEY, {"Content-Encoding": "gzip"})) as server:
        assert str(failure(server.url)).endswith("status (500).")


@pytest.mark.parametrize("encoding", ["Identity", ""])
def test_identity_encoding_is_none(encoding: str) -> None:
    """The encoding "identity" is accepted, as some servers send it."""
    with ScriptedServer(Answer(200, b"{}", {"Content-Encoding": encoding})) as server:
        assert http_service(server.url).get_instance("acme", query()) == Document(b"{}")


def test_body_of_just_the_limit_is_taken() -> None:
    """The limit is the largest size that passes."""
    with ScriptedServer(Answer(200, b"x" * 1000)) as server:
        answer = http_service(server.url, max_bytes=1000).get_instance("acme", query())
    assert answer == Document(b"x" * 1000)


TOO_BIG = {
    "with a length": Answer(200, KEY * 100),
    "with a length that lies": send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + KEY),
    "without a length": endless(b"HTTP/1.1 200 OK\r\n\r\n"),
    "in chunks": send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n"
        + b"x" * 1001
        + b"\r\n0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("script", TOO_BIG.values(), ids=TOO_BIG)
def test_body_over_the_limit_is_rejected(script: Answer | Fault) -> None:
    """A body over the limit is rejected, with or without an announced size."""
    with ScriptedServer(script) as server:
        error = failure(server.url, max_bytes=1000)
    assert (error.details["reason"], error.details["status"]) == ("rejected", 200)
    assert str(error).endswith("rejected (200, over 1000 bytes).")


def test_connection_is_kept_after_success() -> None:
    """200 and 304 are read to their end, so the connection serves again."""
    answers = iter([Answer(200, b"{}", {"ETag": '"v1"'}), Answer(304), Answer(200, b"{}")])
    with ScriptedServer(lambda request: next(answers)) as server:
        service = http_service(server.url)
        service.get_instance("acme", query())
        assert isinstance(service.get_instance("acme", query(etag='"v1"')), NotModified)
        service.get_instance("acme", query())
        assert [request.connection for request in server.received] == [1, 1, 1]


def test_connection_is_closed_after_a_body_over_the_limit() -> None:
    """After a body over the limit the connection is closed: the rest is still on it."""
    answers = iter([Answer(200, b"x" * 1001), Answer(200, b"{}")])
    with ScriptedServer(lambda request: next(answers)) as server:
        service = http_service(server.url, max_bytes=1000)
        with pytest.raises(ConfigServiceUnavailable):
            service.get_instance("acme", query())
        assert service.get_instance("acme", query()) == Document(b"{}")
        assert [request.connection for request in server.received] == [1, 2]


def test_connection_that_the_service_closed_is_not_used() -> None:
    """A connection that the service closed between two calls is not used again."""
    with ScriptedServer(send(encode(Answer(200, b"{}")))) as server:
        service = http_service(server.url)
        service.get_instance("acme", query())
        wait_until(lambda: server.open_connections == 0)
        service.get_instance("acme", query())
        assert [request.connection for request in server.received] == [1, 2]


def test_failure_is_not_retried() -> None:
    """The backend does not retry: backing off is the resolver's task."""
    with ScriptedServer(reset()) as server:
        failure(server.url)
        assert len(server.received) == 1
