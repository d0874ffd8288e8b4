"""One connection to the stream: how it is asked for, what ends it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import requests

from instance_lookup.backends.http import HttpConfigService
from instance_lookup.conf import build_settings
from instance_lookup.push import stream_connection
from instance_lookup.push.stream_connection import (
    CREDENTIAL,
    NONE,
    NOT_ONE,
    PASSING,
    PROXY,
    RARELY,
    REDIRECT,
    SILENT,
    Connection,
    StreamLost,
    connect,
    url_of,
)
from instance_lookup.push.stream_parser import LIMIT, Event
from tests.behaviour.http.routes import CREDENTIALS, with_credentials
from tests.support.servers import (
    Answer,
    Fault,
    ScriptedServer,
    drip,
    drip_headers,
    mute,
    reset,
    send,
)
from tests.support.waiting import within

if TYPE_CHECKING:
    import socket
    import threading
    from collections.abc import Iterator

    from tests.behaviour.http.routes import Route

TOKEN = "token-very-secret"
STREAM = {"Content-Type": "text/event-stream"}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
SHORT = 0.4


@contextmanager
def connected(url: str, last_id: str | None = None, **options: Any) -> Iterator[Connection]:
    given = {"config_service_url": url, "config_service_stream": "/stream", **options}
    settings = build_settings(given)
    connection = connect(HttpConfigService.from_settings(settings), settings, last_id)
    try:
        yield connection
    finally:
        connection.release()


def lost(url: str, **options: Any) -> StreamLost:
    """Return why there is no stream."""
    with pytest.raises(StreamLost) as caught, connected(url, **options) as connection:
        list(connection.events())
    error = caught.value
    assert error.__cause__ is error.__context__ is None  # they would hold the request
    ours = [each.frame.f_locals for each in caught.traceback if "tests" not in str(each.path)]
    assert ours
    assert TOKEN not in f"{error!r} {ours}"
    return error


def heard(connection: Connection) -> list[Event | None]:
    """Return what comes until the end."""
    came: list[Event | None] = []
    with pytest.raises(StreamLost):
        came.extend(connection.events())
    return came


def held(fault: Fault) -> Fault:
    """Play a fault, and leave the connection open after it."""

    def play(sock: socket.socket, stopped: threading.Event) -> None:
        fault.play(sock, stopped)
        stopped.wait(30)

    return Fault(play)


def test_request(route: Route) -> None:
    """It goes the way of all calls: proxy, certificates, token; nothing compressed is asked for."""
    route.server.answers = Answer(200, b"data: x\n\n", STREAM)
    options = {f"config_service_{name}": value for name, value in route.options.items()}
    options |= {"config_service_token": TOKEN, "config_service_user_id": "site"}
    with connected(options.pop("config_service_url"), "41", **options) as connection:
        assert heard(connection) == [Event(b"x"), None]
    (request,) = route.server.received
    assert request.path.endswith("/stream")
    sent = request.headers
    assert (sent["Accept"], sent["Accept-Encoding"]) == ("text/event-stream", "identity")
    assert (sent["Authorization"], sent["Last-Event-ID"]) == (f"Bearer {TOKEN}", "41")
    assert sent["Cache-Control"] == "no-store"
    assert sent["X-User-ID"] == "site"
    assert sent["X-Request-ID"]


def test_request_without_what_is_not_known() -> None:
    """Without a token, a user and an event to go on after, none is named."""
    with ScriptedServer(Answer(200, b":\n", STREAM)) as server, connected(server.url) as connection:
        assert heard(connection) == [None]
        (request,) = server.received
    for name in ("Last-Event-ID", "Authorization", "X-User-ID"):
        assert request.headers[name] is None


def test_credential_of_a_backend_of_its_own() -> None:
    """What ``make_session`` of a subclass sends goes with the stream too."""

    class Keyed(HttpConfigService):
        def make_session(self) -> requests.Session:
            session = requests.Session()  # a plain one: no deadlines
            session.trust_env = False
            session.headers["X-Api-Key"] = TOKEN
            return session

    with ScriptedServer(Answer(200, b"data: x\n\n", STREAM)) as server:
        settings = build_settings(
            {"config_service_url": server.url, "config_service_stream": "/stream"}
        )
        connection = connect(Keyed.from_settings(settings), settings, None)
        assert heard(connection) == [Event(b"x"), None]
        connection.release()
        assert server.received[0].headers["X-Api-Key"] == TOKEN


@pytest.mark.parametrize(
    ("base", "given", "expected"),
    [
        ("http://a.example", "/stream", "http://a.example/stream"),
        ("http://a.example/api/", "/stream?of=all", "http://a.example/api/stream?of=all"),
        ("http://a.example/api", "http://a.example/stream", "http://a.example/stream"),
        ("http://a.example:81", "http://A.example:81/s?x=1", "http://a.example:81/s?x=1"),
    ],
)
def test_url(base: str, given: str, expected: str) -> None:
    """The path is below the service's URL; a URL is on the very host that is asked."""
    settings = build_settings({"config_service_url": base, "config_service_stream": given})
    assert url_of(HttpConfigService(url=base), settings) == expected


@pytest.mark.parametrize("stream", ["/stream?key=s3cret", "https://a.example/stream?key=s3cret"])
def test_url_hides_itself(stream: str) -> None:
    """The query may be secret, and the thread that listens has the URL in a local variable."""
    base = "https://a.example"
    settings = build_settings({"config_service_url": base, "config_service_stream": stream})
    url = url_of(HttpConfigService(url=base), settings)
    assert url == "https://a.example/stream?key=s3cret"
    assert "s3cret" not in repr(url)


def test_url_of_a_backend_with_another_host() -> None:
    """The token of a backend that was built with its own URL goes to no other host."""
    url = "http://a.example/stream"
    settings = build_settings(
        {"config_service_url": "http://a.example", "config_service_stream": url}
    )
    assert url_of(HttpConfigService(url="http://b.example"), settings) == "http://b.example/stream"


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        *[(status, CREDENTIAL) for status in (401, 403)],
        *[(status, NONE) for status in (204, 404, 405, 410, 501)],
        *[(status, PASSING) for status in (400, 408, 429, 500, 502, 503, 206, 304)],
    ],
)
def test_status(status: int, cause: object) -> None:
    """Each status says whether to try again soon, seldom, or what to mend."""
    with ScriptedServer(Answer(status, headers=STREAM)) as server:
        found = lost(server.url, config_service_token=TOKEN)
    assert found.cause is cause
    assert str(status) in str(found)
    assert found.pause == (RARELY if cause is NONE else 0)


@pytest.mark.parametrize("is_plain", [False, True], ids=["ours", "plain session"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect(status: int, monkeypatch: pytest.MonkeyPatch, *, is_plain: bool) -> None:
    """No redirect is followed: the token would go with it."""
    if is_plain:  # of a backend of its own
        monkeypatch.setattr(HttpConfigService, "make_session", lambda self: requests.Session())
    with ScriptedServer(Answer(200, b"data: x\n\n", STREAM)) as other:
        target = {"Location": f"{other.url}/stream", **STREAM}
        with ScriptedServer(Answer(status, headers=target)) as server:
            assert lost(server.url, config_service_token=TOKEN).cause is REDIRECT
        assert other.received == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("20", 20),
        ("9999", 60),
        ("soon", 0),
        ("Thu, 31 Dec 2099 23:59:59 GMT", 60),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(status: int, value: str, seconds: float) -> None:
    """``Retry-After`` is kept to, within a minute."""
    with ScriptedServer(Answer(status, headers={"Retry-After": value})) as server:
        assert lost(server.url).pause == seconds


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json"},
        {"Content-Type": "text/event-streams"},
        {**STREAM, "Content-Encoding": "gzip"},
    ],
)
def test_no_stream(headers: dict[str, str]) -> None:
    """A page, or what is compressed all the same, is no stream: nothing of it is read."""
    with ScriptedServer(Answer(200, b"data: x\n\n", headers)) as server:
        assert lost(server.url).cause is NOT_ONE


@pytest.mark.parametrize("kind", ["text/event-stream;charset=utf-8", "Text/Event-Stream ; a=b"])
def test_content_type(kind: str) -> None:
    """A type may have parameters, and is spelled in any case."""
    answer = Answer(200, b"data: x\n\n", {"Content-Type": kind})
    with ScriptedServer(answer) as server, connected(server.url) as connection:
        assert heard(connection) == [Event(b"x"), None]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"", STREAM),
        send(b""),
        reset(),
        send(b"nonsense\r\n\r\n"),
        send(HEAD[:-2] + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        send(HEAD[:-2] + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc"),
        send(HEAD[:-2] + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc"),
        send(HEAD[:-2] + b"Content-Length: 500\r\n\r\ndata: x"),
        send(HEAD + b"data: x"),
    ],
    ids=["empty", "nothing", "reset", "no HTTP", "no chunk", "negative", "cut chunk", "cut", "end"],
)
def test_ends(answer: Answer | Fault) -> None:
    """Whatever breaks it, it is over, and what was not whole has no effect."""
    with ScriptedServer(answer) as server:
        assert lost(server.url, config_service_token=TOKEN).cause is PASSING


def test_nothing_there() -> None:
    """A service that is down is tried again."""
    with ScriptedServer() as server:
        url = server.url
    assert "ConnectionRefusedError" in str(lost(url))


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (Answer(407), "status 407 at the proxy"),
        (reset(), "unreachable: ConnectionResetError at the proxy"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_refuses(answer: Answer | Fault, what: str, scheme: str) -> None:
    """What the proxy says for itself is told from what the service says."""
    with ScriptedServer(answer) as proxy:
        found = lost(
            f"{scheme}://service.example",
            config_service_proxy=with_credentials(proxy.url),
            config_service_token=TOKEN,
        )
    assert CREDENTIALS not in str(found)
    assert (str(found), found.cause) == (what, PROXY)


@pytest.mark.parametrize("fault", [mute(), drip_headers()])
def test_slow_to_answer(fault: Fault) -> None:
    """The headers have to be there by the deadline of all calls."""
    with ScriptedServer(fault) as server, within(SHORT):
        assert "TimeoutError" in str(lost(server.url, config_service_timeout=SHORT))


@pytest.mark.parametrize(
    "fault",
    [
        drip(b"x" * 10_000, first=HEAD, interval=0.02),
        drip(b"0" * 10_000, first=HEAD[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", interval=0.02),
        drip(b"", first=HEAD + b": once\n"),
    ],
    ids=["drips a line", "drips a size", "goes silent"],
)
def test_silence(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a whole line for so long the other side is gone; bytes alone are no proof."""
    monkeypatch.setattr(stream_connection, "SILENCE", SHORT)
    with ScriptedServer(held(fault)) as server, within(SHORT):
        found = lost(server.url)
    assert (str(found), found.cause) == ("no line in 0.4 s", SILENT)


def test_silence_on_a_plain_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session without deadlines, of a backend of its own, hears the silence as well."""
    monkeypatch.setattr(stream_connection, "SILENCE", SHORT)
    monkeypatch.setattr(HttpConfigService, "make_session", lambda self: requests.Session())
    fault = drip(b"x" * 10_000, first=HEAD, interval=0.02)
    with ScriptedServer(fault) as server, within(SHORT):
        assert str(lost(server.url)) == "no line in 0.4 s"


def test_heartbeats_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment now and then is enough, for as long as it likes."""
    monkeypatch.setattr(stream_connection, "SILENCE", SHORT)

    def play(sock: socket.socket, stopped: threading.Event) -> None:
        sock.sendall(HEAD)
        for _ in range(8):
            sock.sendall(b": heartbeat\n")
            stopped.wait(SHORT / 4)
        sock.sendall(b"data: x\n\n")

    with ScriptedServer(Fault(play)) as server, connected(server.url) as connection:
        came = heard(connection)
    assert came[-2:] == [Event(b"x"), None]
    assert connection.lines == 10


def test_first_line_may_take_longer_than_the_headers() -> None:
    """The deadline is of the headers; from then on silence has its own time."""

    def play(sock: socket.socket, stopped: threading.Event) -> None:
        sock.sendall(HEAD)
        stopped.wait(2 * SHORT)
        sock.sendall(b"data: x\n\n")

    options: dict[str, Any] = {"config_service_timeout": SHORT}
    with ScriptedServer(Fault(play)) as server, connected(server.url, **options) as connection:
        assert heard(connection) == [Event(b"x"), None]


def test_endless() -> None:
    """A line without end costs a little memory and then the connection."""

    def play(sock: socket.socket, stopped: threading.Event) -> None:
        sock.sendall(HEAD)
        while not stopped.is_set():
            sock.sendall(b"x" * LIMIT)

    with ScriptedServer(Fault(play)) as server:
        assert lost(server.url).cause is NOT_ONE


def test_retry() -> None:
    """What the service wants clients to wait is read."""
    answer = Answer(200, b"retry: 250\n\n", STREAM)
    with ScriptedServer(answer) as server, connected(server.url) as connection:
        assert heard(connection) == [None]
        assert connection.retry == 0.25


def test_close_from_another_thread(route: Route) -> None:
    """To close it ends the read that is under way."""
    route.server.answers = held(drip(b"", first=HEAD + b":\n"))
    options = {f"config_service_{name}": value for name, value in route.options.items()}
    with connected(options.pop("config_service_url"), **options) as connection:
        events = connection.events()
        assert next(events) is None
        connection.close()
        with pytest.raises(StreamLost), within(1):
            next(events)
        connection.close()  # it may be over already
