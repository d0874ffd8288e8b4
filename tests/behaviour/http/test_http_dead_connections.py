"""Connections that died in the pool, or became too old for it, on each way to the service."""

from __future__ import annotations

import socket
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup.backends import sockets, transport
from instance_lookup.backends.base import Document
from instance_lookup.backends.transport import DeadlineConnection
from instance_lookup.exceptions import ConfigServiceUnavailable
from tests.behaviour.http.queries import http_service, query
from tests.behaviour.http.routes import PATIENCE, fill_pool
from tests.support.servers import Answer, Script, ScriptedServer, drop_packets, reset

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.backends.http import HttpConfigService
    from tests.behaviour.http.routes import Route

OK = Answer(200, b"{}")
ON_LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux drops packets, and notices it"
)


class Now:
    """The clock of the connections."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # A whole number: to it fractions such as 3.875 are added without rounding.
        self.now = float(round(monotonic()))
        for module in (transport, sockets):
            monkeypatch.setattr(module, "monotonic", lambda: self.now)


def ask_together(service: HttpConfigService, count: int, seconds: float = PATIENCE) -> list[Any]:
    """Return the answers, or the errors, of so many calls at one time."""

    def ask(number: int) -> Any:
        try:
            return service.get_instance("acme", query(seconds, request_id=f"req-{number}"))
        except ConfigServiceUnavailable as exc:
            return exc.details

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(ask, range(count)))


# --- dead ---------------------------------------------------------------------------------------


def end(route: Route, how: int) -> None:
    """End each connection of the pool: with a FIN, or (``SHUT_RD``) a RST at the next byte."""
    for sock in (route.proxy or route.server)._sockets:
        if sock.fileno() != -1:
            sock.shutdown(how)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each call was sent, by the id of its request."""
    times: Counter[str] = Counter()
    send = DeadlineConnection.request

    def note(self: DeadlineConnection, *args: Any, **kwargs: Any) -> None:
        times[kwargs["headers"]["X-Request-ID"]] += 1
        send(self, *args, **kwargs)

    monkeypatch.setattr(DeadlineConnection, "request", note)
    return times


def closed_under_the_request(route: Route) -> None:
    count = len(route.connections)
    route.server.answers = lambda request: OK if request.connection > count else reset()


DEATHS: dict[str, Callable[[Route], None]] = {
    "closed": lambda route: end(route, socket.SHUT_RDWR),
    "closed under the request": closed_under_the_request,
    "packets are dropped": lambda route: drop_packets(route.proxy or route.server),
}


@ON_LINUX
@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
def test_pool_of_dead_connections_costs_no_answer(
    route: Route, death: Callable[[Route], None], sent: Counter[str]
) -> None:
    """When all pooled connections died, each of 64 calls at once meets one of them at most."""
    service = route.service()
    fill_pool(route, service, 64)
    route.server.answers = OK
    death(route)
    sent.clear()
    assert ask_together(service, 64) == [Document(b"{}")] * 64
    assert len(sent) == 64
    assert max(sent.values()) <= 2


@ON_LINUX
def test_call_after_dropped_packets_leaves_half_of_a_short_deadline(route: Route) -> None:
    """The second try has time to answer."""
    service = route.service()
    service.get_instance("acme", query())
    drop_packets(route.proxy or route.server)
    assert ask_together(service, 1, seconds=1.6) == [Document(b"{}")]


def test_late_answer_on_a_used_connection_is_waited_for(route: Route) -> None:
    """A service that thinks for longer than a dead connection is given is not asked twice."""
    service = route.service()
    service.get_instance("acme", query())
    route.server.answers = Answer(200, b"{}", delay=transport._ACKNOWLEDGED + 0.5)
    assert service.get_instance("acme", query()) == Document(b"{}")
    assert route.connections == [1, 1]


def test_connection_is_reused_on_a_system_without_the_option(
    route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections are reused on systems without TCP_USER_TIMEOUT, which only Linux has."""
    monkeypatch.setattr(sockets, "_USER_TIMEOUT", None)
    service = route.service()
    for _ in range(2):
        assert service.get_instance("acme", query()) == Document(b"{}")
    assert route.connections == [1, 1]


# --- rest ---------------------------------------------------------------------------------------


def test_connection_that_rested_is_not_used_again(
    route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall may have forgotten it; used more often than that it stays."""
    clock = Now(monkeypatch)
    service = route.service()
    for pause in (0, 3.875, 3.875, 4, 3.875):
        clock.now += pause
        service.get_instance("acme", query(1e6))
    assert route.connections == [1, 1, 1, 2, 2]


def test_call_after_a_rest_does_not_meet_dropped_packets(
    route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a rest no old connection is used, also behind a proxy that acknowledges packets."""
    clock = Now(monkeypatch)
    service = route.service()
    fill_pool(route, service, 8, seconds=1e6)
    route.server.answers = lambda request: OK if request.connection > 8 else mute_for_ever()
    clock.now += transport.REST
    assert ask_together(service, 8, seconds=1e6) == [Document(b"{}")] * 8


def mute_for_ever() -> Script:
    return Answer(200, b"{}", delay=60)


# --- age ----------------------------------------------------------------------------------------


def test_busy_connection_is_replaced_within_a_minute(
    route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that moved is found by then, though the connection never rests."""
    clock = Now(monkeypatch)
    service = route.service()
    for _ in range(61):
        service.get_instance("acme", query(1e6))
        clock.now += 1
    assert route.connections == [1] * 60 + [2]


@pytest.mark.parametrize("way", ["service", "proxy"])
def test_name_that_moves_is_followed_while_the_old_host_lives(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a name moves, busy connections go over to the new address though the old host lives."""
    clock = Now(monkeypatch)
    address = "127.0.0.1"

    def getaddrinfo(host: str, port: int, *args: Any) -> list[Any]:
        assert host == "moving.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))]

    with ScriptedServer(OK) as old, ScriptedServer(OK, host="127.0.0.2", port=old.port) as new:
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        url = f"http://moving.example:{old.port}"
        options = {"url": url} if way == "service" else {"url": "http://s.example", "proxy": url}
        service = http_service(**options)
        ask_together(service, 4, seconds=1e6)
        address = "127.0.0.2"
        for _ in range(20):
            clock.now += 3
            ask_together(service, 4, seconds=1e6)
        asked = len(old.received)
        ask_together(service, 4, seconds=1e6)
        assert len(old.received) == asked
        assert len(new.received) >= 4
