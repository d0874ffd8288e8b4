"""Interim answers before the final one: RFC 9110, section 15.2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from instance_lookup.backends.base import Document, NotModified
from instance_lookup.exceptions import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
)
from tests.behaviour.http.queries import query
from tests.support.servers import Answer, Fault, drip, encode, linger
from tests.support.waiting import within

if TYPE_CHECKING:
    import socket
    import threading

    from tests.behaviour.http.routes import Route

OK = encode(Answer(200, b"{}", {"ETag": '"1"'}))
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
DEADLINE = 0.4

INTERIM = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "103": HINTS,
    "one of tomorrow": b"HTTP/1.1 199 Whatever\r\nContent-Length: 99\r\n\r\n",
    "without a reason": b"HTTP/1.1 103\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 103 Early Hints\nLink: </x>\n\n",
    "several": HINTS * 3 + b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS,
    "one that looks like the final one": b"HTTP/1.1 103 Early Hints\r\nX: HTTP/1.1 404\r\n\r\n",
}


@pytest.mark.parametrize("interim", INTERIM.values(), ids=INTERIM)
def test_interim_answer_is_passed_over(route: Route, interim: bytes) -> None:
    """An interim answer is passed over, and the final answer is used with its headers."""
    route.server.answers = linger(interim + OK)
    assert route.service().get_instance("acme", query()) == Document(b"{}", '"1"')


def test_interim_answer_that_drips_is_passed_over(route: Route) -> None:
    """An interim answer in many small packets is passed over."""
    route.server.answers = drip(HINTS + OK, interval=0.001)
    assert route.service().get_instance("acme", query()) == Document(b"{}", '"1"')


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, AccessDenied), (404, InstanceNotFound), (503, ConfigServiceUnavailable)],
)
def test_interim_answer_hides_no_status(
    route: Route, status: int, error: type[InstanceLookupError]
) -> None:
    """After an interim answer the final status is used."""
    route.server.answers = linger(HINTS + encode(Answer(status)))
    with pytest.raises(error):
        route.service().get_instance("acme", query())


def test_interim_answer_before_a_304(route: Route) -> None:
    """A 304 after an interim answer is complete without a body or a length."""
    route.server.answers = linger(HINTS + encode(Answer(304)))
    assert isinstance(route.service().get_instance("acme", query(etag='"1"')), NotModified)


def flood(data: bytes, sent: list[int]) -> Fault:
    """Send the data again and again, as fast as it is taken, and count the bytes."""

    def play(sock: socket.socket, stopped: threading.Event) -> None:
        while not stopped.is_set():
            sock.sendall(data)
            sent.append(len(data))

    return Fault(play)


ENDLESS = {
    "103": HINTS,
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "headers of one": b"HTTP/1.1 103 Early Hints\r\n" + b"X: y\r\n" * 20_000,
    "long reasons": b"HTTP/1.1 103 " + b"x" * 60_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("data", ENDLESS.values(), ids=ENDLESS)
def test_interim_answers_are_bounded_in_bytes(route: Route, data: bytes) -> None:
    """Interim answers have a limit in bytes, so they cannot keep a processor busy."""
    sent: list[int] = []
    route.server.answers = flood(data, sent)
    with within(10), pytest.raises(ConfigServiceUnavailable) as caught:
        route.service().get_instance("acme", query(30))
    assert caught.value.details["reason"] == "unreachable"
    assert caught.value.details["error"] == "HTTPException"


def test_interim_answers_end_at_the_deadline(route: Route) -> None:
    """Endless interim answers end at the deadline."""
    route.server.answers = drip(HINTS * 100, interval=0.005)
    with within(DEADLINE), pytest.raises(ConfigServiceUnavailable) as caught:
        route.service().get_instance("acme", query(DEADLINE))
    assert caught.value.details["reason"] == "timeout"


def test_interim_answer_keeps_the_connection(route: Route) -> None:
    """An interim answer keeps the connection."""
    route.server.answers = Answer(200, b"{}")
    service = route.service()
    service.get_instance("acme", query())
    service.get_instance("acme", query())
    assert route.connections == [1, 1]
