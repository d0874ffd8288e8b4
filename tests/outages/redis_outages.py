"""The ways a Redis fails, each from ``with`` until its end, and a resolver to bear it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import InstanceResolver
from tests.outages.outages import Later
from tests.support.caches import use_cache
from tests.support.lookups import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer

TIMEOUT = 0.3
"""Seconds after which a socket times out."""
NONSENSE = b"HTTP/1.1 400 Bad Request\r\n\r\n"


@contextmanager
def refused(server: RedisServer) -> Iterator[None]:
    """Stop the server, so that connections are refused; start it again, empty."""
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextmanager
def hung(server: RedisServer) -> Iterator[None]:
    """Have the server accept connections and never answer; afterwards it has its old entries."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


def garbage(server: RedisServer) -> AbstractContextManager[None]:
    """Have another server that is no Redis listen on the port."""
    return replaced(server, lambda _: NONSENSE)


@contextmanager
def replaced(server: RedisServer, reply: Callable[[bytes], bytes]) -> Iterator[None]:
    """Put another server on its port that sends ``reply``, first without any request."""
    server.kill()
    listener = socket.create_server(("127.0.0.1", server.port))
    talking: list[socket.socket] = []

    def talk() -> None:
        with suppress(OSError):
            while True:
                caller, _ = listener.accept()
                talking.append(caller)
                threading.Thread(target=answer, args=[caller], daemon=True).start()

    def answer(caller: socket.socket) -> None:
        request = b""
        with suppress(OSError):
            while True:
                caller.sendall(reply(request))
                if not (request := caller.recv(65536)):
                    return

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for caller in talking:
            caller.close()
        server.start()


@contextmanager
def read_only(server: RedisServer) -> Iterator[None]:
    """Make the server a replica, which is read-only, as after a failover."""
    server.command("REPLICAOF", "127.0.0.1", "1")
    try:
        yield
    finally:
        server.command("REPLICAOF", "NO", "ONE")


@contextmanager
def full(server: RedisServer) -> Iterator[None]:
    """Let the server have no memory left, and evict nothing."""
    assert server.command("CONFIG", "SET", "maxmemory-policy", "noeviction") == b"+OK"
    assert server.command("CONFIG", "SET", "maxmemory", "1") == b"+OK"
    try:
        yield
    finally:
        server.command("CONFIG", "SET", "maxmemory", "0")


Outage = Callable[[Any], AbstractContextManager[None]]
DOWN: list[Outage] = [refused, hung, garbage]
UNWRITABLE: list[Outage] = [read_only, full]


def name_of(outage: Outage) -> str:
    return getattr(outage, "__name__", "")


down = pytest.mark.parametrize("outage", DOWN, ids=name_of)
unwritable = pytest.mark.parametrize("outage", UNWRITABLE, ids=name_of)
any_outage = pytest.mark.parametrize("outage", DOWN + UNWRITABLE, ids=name_of)


each_kind = pytest.mark.parametrize(
    "kind", ["django-redis", pytest.param("redis", marks=pytest.mark.full)]
)
"""Of the backends for Redis the one that most projects use; the other with ``--full``."""


class Bench:
    """A resolver between a Redis and a service, and its clock."""

    def __init__(self, server: RedisServer, alias: str) -> None:
        self.server = server
        self.alias = alias
        self.service = Service()
        self.resolver = self.make()
        self.later = Later(self.resolver)

    def make(self) -> InstanceResolver:
        """Return another resolver, as in another process."""
        return InstanceResolver(
            config_service_backend=self.service, cache_alias=self.alias, near_cache_ttl=4
        )

    @property
    def errors(self) -> int:
        return self.resolver.get_cache_stats().errors

    @property
    def calls(self) -> int:
        return len(self.service.calls)

    def calls_for(self, asked: str) -> int:
        return sum(call[1] == asked for call in self.service.calls)


def provide_bench(kind: str, server: RedisServer) -> Iterator[Bench]:
    """Yield a bench on a Redis whose sockets have short timeouts."""
    timeouts: dict[str, Any] = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
    if kind == "django-redis":
        timeouts = {name.upper(): seconds for name, seconds in timeouts.items()}
    with use_cache(kind, redis_url=server.url(), **timeouts) as alias:
        yield Bench(server, alias)
