from __future__ import annotations

import socket
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
import requests
import responses

from instance_lookup.backends.sockets import DeadlineSocket
from instance_lookup.backends.transport import DeadlineSession
from instance_lookup.concurrency import pools
from instance_lookup.concurrency.threads import DaemonPool
from tests.support.servers import Answer, ScriptedServer, black_hole, free_port
from tests.support.waiting import within

if TYPE_CHECKING:
    from collections.abc import Iterator

Address = tuple[Any, ...]


@pytest.fixture
def session() -> Iterator[DeadlineSession]:
    with DeadlineSession(4) as session:
        yield session


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: Address) -> None:
    found = [(family, socket.SOCK_STREAM, 0, "", address) for family, address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: found)


def test_session_gets_an_answer(session: DeadlineSession) -> None:
    """Within the deadline it is an ordinary session."""
    with ScriptedServer(Answer(200, b"hello")) as server:
        assert session.get(server.url, timeout=5).content == b"hello"


def test_session_needs_a_timeout(session: DeadlineSession) -> None:
    """A request without a timeout raises and is not sent."""
    with pytest.raises(ValueError, match="needs a timeout"):
        session.get("http://127.0.0.1")


def test_session_works_with_responses(session: DeadlineSession) -> None:
    """The mock library that projects use in their own tests still steps in."""
    with responses.RequestsMock() as mock:
        mock.get("http://service.example/", body=b"mocked")
        assert session.get("http://service.example/", timeout=5).content == b"mocked"


def test_connection_is_reused(session: DeadlineSession) -> None:
    """Each call has a deadline of its own on one connection."""
    with ScriptedServer(Answer(200, b"hello")) as server:
        for _ in range(3):
            session.get(server.url, timeout=5)
        assert [request.connection for request in server.received] == [1, 1, 1]


def test_ipv6_is_reached(session: DeadlineSession) -> None:
    """An IPv6 address in brackets is reached."""
    with ScriptedServer(Answer(200, b"six"), host="::1") as server:
        assert session.get(server.url, timeout=5).content == b"six"


def test_black_hole_ends_at_the_deadline(session: DeadlineSession) -> None:
    """A connect that never completes ends at the deadline."""
    with black_hole() as (host, port), within(0.2), pytest.raises(requests.ConnectTimeout):
        session.get(f"http://{host}:{port}", timeout=0.2)


def test_address_that_swallows_packets_leaves_time_for_the_next(
    session: DeadlineSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that does not answer takes a share of the time, and the next one is tried."""
    with black_hole() as hole, ScriptedServer(Answer(200, b"second")) as server:
        good = ("127.0.0.1", server.port)
        resolve_to(monkeypatch, (socket.AF_INET, hole), (socket.AF_INET, good))
        assert session.get("http://two.example", timeout=2).content == b"second"


def test_address_of_an_unsupported_family_is_passed_over(
    session: DeadlineSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host without IPv6 goes on to IPv4."""
    with ScriptedServer(Answer(200, b"four")) as server:
        unsupported = (9999, ("::1", server.port))
        resolve_to(monkeypatch, unsupported, (socket.AF_INET, ("127.0.0.1", server.port)))
        assert session.get("http://two.example", timeout=5).content == b"four"


def test_host_without_a_listening_address_is_a_connection_error(
    session: DeadlineSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no address of a host listens, the error is that of the last address."""
    closed = (socket.AF_INET, ("127.0.0.1", free_port()))
    resolve_to(monkeypatch, closed, closed)
    with pytest.raises(requests.ConnectionError, match="Connection refused"):
        session.get("http://two.example", timeout=5)


def test_host_without_any_address_is_a_connection_error(
    session: DeadlineSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver may answer with an empty list."""
    resolve_to(monkeypatch)
    with pytest.raises(requests.ConnectionError, match="has no address"):
        session.get("http://none.example", timeout=5)


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("label too long")])
def test_host_without_a_name_is_a_connection_error(
    session: DeadlineSession, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Any error of the name lookup in its thread comes out as an error of requests."""

    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(requests.ConnectionError, match="cannot be reached"):
        session.get("http://nowhere.example", timeout=5)


def test_stuck_name_lookup_ends_at_the_deadline(
    session: DeadlineSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers are answered in time, also those whose lookup has to queue behind stuck ones."""
    release = threading.Event()
    asked: list[str] = []

    def hang(host: str, *args: object) -> list[Address]:
        asked.append(host)
        release.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(pools, "names", DaemonPool("dns-test", 1))
    # The first has longer, so that a busy machine begins its lookup before it is given up.
    for host, timeout in (("first.example", 1), ("second.example", 0.2)):
        with within(timeout), pytest.raises(requests.ConnectTimeout):
            session.get(f"http://{host}", timeout=timeout)
    release.set()
    pools.names.submit(str).result(5)
    assert asked == ["first.example"]  # the second lookup was dropped with its caller


def test_connections_over_the_pool_size_do_not_queue(session: DeadlineSession) -> None:
    """More callers than kept connections are served at once, without waiting."""
    barrier = threading.Barrier(8, timeout=5)

    def answer(request: object) -> Answer:
        barrier.wait()
        return Answer(200, b"together")

    with ScriptedServer(answer) as server:
        seen: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: seen.append(session.get(server.url, timeout=5).content))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert seen == [b"together"] * 8


def test_cookies_are_not_kept(session: DeadlineSession) -> None:
    """A cookie of one call is not sent with another."""
    with ScriptedServer(Answer(200, headers={"Set-Cookie": "who=alice"})) as server:
        session.get(server.url, timeout=5)
        session.get(server.url, timeout=5)
        assert server.received[1].headers["Cookie"] is None


@pytest.mark.parametrize("seconds", [0, -1.0, None])
def test_socket_refuses_not_to_time_out(seconds: float | None) -> None:
    """A socket refuses the timeouts 0 and None: neither is a deadline."""
    with DeadlineSocket() as sock, pytest.raises(TimeoutError):
        sock.settimeout(seconds)


def test_socket_receives_until_its_deadline_only() -> None:
    """A socket receives nothing after its deadline, even bytes that are already there."""
    left, right = socket.socketpair()
    with left, DeadlineSocket(fileno=right.detach()) as sock:
        left.sendall(b"ab")
        sock.settimeout(5)
        assert sock.recv_into(bytearray(1)) == 1
        sock._until = monotonic()
        with pytest.raises(TimeoutError):
            sock.recv_into(bytearray(1))
