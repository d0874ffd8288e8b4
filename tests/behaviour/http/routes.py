"""The ways on which a request reaches the service: with TLS or not, through a proxy or not."""

from __future__ import annotations

import gc
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest

from instance_lookup.backends.sockets import DeadlineSocket
from tests.behaviour.http.queries import http_service, query
from tests.support.servers import Answer, Answers, Received, Script, ScriptedServer, tunnel

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from instance_lookup.backends.http import HttpConfigService

_made: WeakSet[DeadlineSocket] = WeakSet()

CREDENTIALS = "scout:proxy-very-secret"
PATIENCE = 60.0
"""Seconds for many calls at one time: on a busy machine 64 TLS handshakes take more than ten."""


@dataclass
class Route:
    """A service that is asked on one way, and the servers that are met on it."""

    server: ScriptedServer
    """The first to read a request: the service, or a proxy that answers in its name."""
    options: dict[str, Any] = field(default_factory=dict)
    proxy: ScriptedServer | None = None

    def service(self, **options: Any) -> HttpConfigService:
        return http_service(**{**self.options, **options})

    @property
    def connections(self) -> list[int]:
        """Return for each request the connection on which it came."""
        return [request.connection for request in self.server.received]


ROUTES = [
    pytest.param("http"),
    pytest.param("http, proxy"),
    pytest.param("https", marks=pytest.mark.extras),
    pytest.param("https, proxy", marks=pytest.mark.extras),
]


@contextmanager
def open_route(
    kind: str, answers: Answers, tls: tuple[ssl.SSLContext, str] | None
) -> Iterator[Route]:
    """Open a way; ``tls`` is the service's context and the file of its authority."""
    with ExitStack() as stack:
        if tls is None:
            server = stack.enter_context(ScriptedServer(answers))
            if kind == "http":
                yield Route(server, {"url": server.url})
            else:
                url = {"url": "http://service.example", "proxy": with_credentials(server.url)}
                yield Route(server, url, server)
            return
        context, bundle = tls
        server = stack.enter_context(ScriptedServer(answers, tls=context))
        options = {"url": server.url, "ca_bundle": bundle}
        if kind == "https":
            yield Route(server, options)
            return
        proxy = stack.enter_context(ScriptedServer(tunnel(server.port)))
        yield Route(server, {**options, "proxy": with_credentials(proxy.url)}, proxy)


def with_credentials(url: str) -> str:
    return url.replace("://", f"://{CREDENTIALS}@")


def known_sockets() -> WeakSet[DeadlineSocket]:
    """Return the connections made so far: those of other tests end in their own time."""
    return _made.copy()


def open_sockets(but: WeakSet[DeadlineSocket]) -> int:
    """Return how many connections of ours are open, in a pool or leaked, ``but`` those known."""

    def count() -> int:
        return sum(sock not in but and sock.fileno() != -1 for sock in _made)

    if count():  # some of them may be garbage, and that is no leak
        gc.collect()
    return count()


@contextmanager
def sockets_noted() -> Iterator[None]:
    """Have each connection noted for :func:`open_sockets` when it is given its time."""
    give_time = DeadlineSocket.settimeout

    def note(sock: DeadlineSocket, value: float | None) -> None:
        _made.add(sock)
        give_time(sock, value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeadlineSocket, "settimeout", note)
        yield


def fill_pool(
    route: Route, service: HttpConfigService, count: int, *, seconds: float = PATIENCE
) -> None:
    """Have ``count`` connections in the pool: as many calls at one time."""
    together = threading.Barrier(count, timeout=PATIENCE)

    def answer(request: Received) -> Script:
        together.wait()
        return Answer(200, b"{}")

    route.server.answers = answer
    calls = [
        threading.Thread(target=service.get_instance, args=("acme", query(seconds)))
        for _ in range(count)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join(PATIENCE)
    assert sorted(route.connections) == list(range(1, count + 1))
