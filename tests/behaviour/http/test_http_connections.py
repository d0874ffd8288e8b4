"""What becomes of a connection after an answer, on each way to the service."""

from __future__ import annotations

import io
import json
import threading
from typing import TYPE_CHECKING

import pytest

from instance_lookup.backends.base import Document, NotModified
from instance_lookup.exceptions import ConfigServiceUnavailable, InstanceNotFound
from tests.behaviour.http.queries import query
from tests.behaviour.http.routes import fill_pool, known_sockets, open_sockets
from tests.behaviour.http.steps import Steps
from tests.support.servers import (
    Answer,
    Fault,
    encode,
    linger,
    mute,
    once,
    reset,
    send,
)
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from instance_lookup.backends.http import HttpConfigService
    from tests.behaviour.http.routes import Route

OK = Answer(200, b"{}")
DEADLINE = 0.4


def failure(service: HttpConfigService, seconds: float = 5.0) -> ConfigServiceUnavailable:
    with pytest.raises(ConfigServiceUnavailable) as caught:
        service.get_instance("acme", query(seconds))
    return caught.value


# --- one fresh try ------------------------------------------------------------------------------

CLOSES = {"FIN": send(b""), "RST": reset()}


@pytest.mark.parametrize("closes", CLOSES.values(), ids=CLOSES)
def test_connection_that_closes_under_a_request_is_replaced(route: Route, closes: Fault) -> None:
    """The service ended the keep-alive while the request was on its way: no user hears of it."""
    route.server.answers = once(OK, closes)
    service = route.service()
    for _ in range(3):
        assert service.get_instance("acme", query()) == Document(b"{}")
    assert route.connections == [1, 1, 2, 2, 3]


def test_fresh_try_does_not_take_the_next_dead_connection(route: Route) -> None:
    """The second try uses a new connection: all others of the pool may be dead too."""
    service = route.service()
    fill_pool(route, service, 3)
    route.server.answers = lambda request: OK if request.connection > 3 else reset()
    assert service.get_instance("acme", query()) == Document(b"{}")
    used = route.connections[3:]
    assert len(used) == 2
    assert used[1] == 4


def test_fresh_try_is_the_only_one(route: Route) -> None:
    """A service that closes everything is down, and is not asked a third time."""
    service = route.service()
    service.get_instance("acme", query())
    route.server.answers = reset()
    assert failure(service).details["reason"] == "unreachable"
    assert route.connections == [1, 1, 2]


def test_new_connection_that_closes_is_not_tried_again(route: Route) -> None:
    """A new connection that closes before any answer is not tried again."""
    route.server.answers = reset()
    assert failure(route.service()).details["reason"] == "unreachable"
    assert route.connections == [1]


BEGUN = {
    "one byte": b"H",
    "an interim answer": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "headers": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{",
}


@pytest.mark.parametrize("begun", BEGUN.values(), ids=BEGUN)
def test_answer_that_began_is_not_asked_for_again(route: Route, begun: bytes) -> None:
    """A request whose answer has begun is not repeated."""
    route.server.answers = once(OK, send(begun))
    service = route.service()
    service.get_instance("acme", query())
    assert failure(service).details["reason"] == "unreachable"
    assert route.connections == [1, 1]


def test_slow_answer_on_a_used_connection_is_not_asked_for_again(route: Route) -> None:
    """A service that is late has not closed anything."""
    service = route.service()
    service.get_instance("acme", query())
    route.server.answers = mute()
    assert failure(service, DEADLINE).details["reason"] == "timeout"
    assert route.connections == [1, 1]


def test_fresh_try_keeps_the_deadline(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both tries share one deadline."""
    service = route.service()
    service.get_instance("acme", query())
    route.server.answers = lambda request: reset() if request.connection == 1 else mute()
    tries = Steps(monkeypatch, ("request", 10.0), ("request", DEADLINE))
    with within(DEADLINE), pytest.raises(ConfigServiceUnavailable) as caught:
        service.get_instance("acme", tries.query)
    assert caught.value.details["reason"] == "timeout"
    wait_until(lambda: len(route.connections) == 3)
    assert route.connections == [1, 1, 2]


def test_fresh_try_leaves_no_connection_behind(route: Route) -> None:
    """Each that broke is closed, whether or not the other one helped."""
    known = known_sockets()
    route.server.answers = once(OK, reset())
    service = route.service()
    for _ in range(5):
        service.get_instance("acme", query())
    assert open_sockets(known) == 1
    route.server.answers = reset()
    for _ in range(5):
        failure(service)
    assert open_sockets(known) == 0


# --- bytes after an answer ----------------------------------------------------------------------

FORGED = encode(Answer(200, b'{"instance_id": "globex", "metadata": {"owner": "mallory"}}'))
REAL = Answer(200, b'{"instance_id": "globex", "metadata": {"owner": "gloria"}}')


def padded(size: int) -> bytes:
    """Return an answer of that many bytes, so that the next one begins a buffer of its own."""
    head = len(encode(Answer(200, b" " * size))) - size
    return encode(Answer(200, b"{}".ljust(size - head)))


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
NO_CHANGE = b"HTTP/1.1 304 Not Modified\r\n"
PADDED = padded(io.DEFAULT_BUFFER_SIZE)

SURPLUS: dict[str, tuple[bytes, object]] = {
    "after a length": (encode(OK) + FORGED, Document(b"{}")),
    "after chunks": (CHUNKED + FORGED, Document(b"{}")),
    "after a 304": (NO_CHANGE + b"\r\n" + FORGED, NotModified),
    "after a 304 with a length": (
        NO_CHANGE + b"Content-Length: 99\r\n\r\n" + FORGED,
        NotModified,
    ),
    "after nothing": (encode(Answer(200, b"")) + FORGED, Document(b"")),
    "after a 404": (encode(Answer(404)) + FORGED, InstanceNotFound),
    "behind the reader's buffer": (
        PADDED + FORGED,
        Document(PADDED.partition(b"\r\n\r\n")[2]),
    ),
    "a blank line": (encode(OK) + b"\r\n", Document(b"{}")),
    "one byte": (encode(OK) + b"H", Document(b"{}")),
    "more than any buffer": (encode(OK) + FORGED * 5_000, Document(b"{}")),
}
"""What comes on the connection, and the answer that is in it."""


def answer_of(service: HttpConfigService) -> object:
    """Return the document of the first tenant, or the class of another answer."""
    try:
        answer = service.get_instance("acme", query(etag='"1"'))
    except InstanceNotFound as exc:
        return type(exc)
    return answer if isinstance(answer, Document) else type(answer)


@pytest.mark.parametrize(("data", "answer"), SURPLUS.values(), ids=SURPLUS)
def test_surplus_is_not_the_answer_of_the_next_tenant(
    route: Route, data: bytes, answer: object
) -> None:
    """A connection that brought more than its answer is not used again."""
    surplus = linger(data)
    route.server.answers = lambda request: surplus if request.path.endswith("acme") else REAL
    service = route.service()
    assert answer_of(service) == answer
    assert service.get_instance("globex", query()) == Document(REAL.body)
    assert route.connections == [1, 2]


def test_surplus_that_comes_later_is_not_the_answer_of_the_next_tenant(route: Route) -> None:
    """While the connection rests in the pool nothing may come on it."""
    sent = threading.Event()
    go_on = threading.Event()

    def play(sock: object, stopped: threading.Event) -> None:
        sock.sendall(encode(OK))  # type: ignore[attr-defined]
        go_on.wait(5)
        sock.sendall(FORGED)  # type: ignore[attr-defined]
        sent.set()
        stopped.wait()

    late = Fault(play)
    route.server.answers = lambda request: late if request.path.endswith("acme") else REAL
    service = route.service()
    service.get_instance("acme", query())
    go_on.set()
    assert sent.wait(5)
    pool_sees_it(service)
    assert service.get_instance("globex", query()) == Document(REAL.body)
    assert route.connections == [1, 2]


def pool_sees_it(service: HttpConfigService) -> None:
    """Wait until the bytes have come through the kernel, and through a tunnel."""
    [adapter] = {id(a): a for a in service._session.adapters.values()}.values()
    managers = [*adapter.proxy_manager.values()] or [adapter.poolmanager]  # type: ignore[attr-defined]
    [pool] = [manager.pools[key] for manager in managers for key in manager.pools.keys()]  # noqa: SIM118
    conn = pool.pool.queue[-1]
    wait_until(lambda: not conn.is_connected)


def test_answer_without_surplus_keeps_its_connection(route: Route) -> None:
    """Each kind of complete answer without surplus bytes keeps its connection."""
    kinds = iter([
        Answer(200, b"{}"),
        Answer(304),
        Answer(200, json.dumps({"x": "y" * 100_000}).encode()),
        Answer(200, b""),
        Answer(200, b"{}", {"Connection": "keep-alive"}),
    ])  # fmt: skip
    route.server.answers = lambda request: next(kinds)
    service = route.service()
    for _ in range(5):
        service.get_instance("acme", query(etag='"1"'))
    assert route.connections == [1] * 5
