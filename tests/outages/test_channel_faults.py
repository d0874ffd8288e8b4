"""A channel that is denied, lost or cut: old entries are served for a second at most.

The channel comes back by itself, and the log has one line for the fault and one for its end.
"""

from __future__ import annotations

import re
import socket
import threading
from contextlib import contextmanager, suppress
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

import pytest

from instance_lookup import Source
from instance_lookup.cache.pubsub import Channel
from tests.outages.redis_outages import hung, refused
from tests.support.lookups import asks
from tests.support.near import (
    LONG,
    Hearer,
    at_hand,
    is_sure,
    near_caches,
    near_config,
    near_resolver,
    seen,
    settled,
    wait_for_delivery,
    watch,
)
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.outages.redis_outages import Outage
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.extras


class Proxy:
    """Stands between a client and a server, and passes nothing on while it is cut."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._is_open = Event()
        self._is_open.set()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._is_open.set()
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Partition the network: all is accepted, and nothing arrives until it is over."""
        self._is_open.clear()
        try:
            yield
        finally:
            self._is_open.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(self._target)
                self._ends += [here, there]
                for ends in ((here, there), (there, here)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._is_open.wait(LONG)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def alias(own_redis_server: RedisServer) -> Iterator[str]:
    with near_caches(instances=near_config("django-redis", own_redis_server.url())):
        yield "instances"


@pytest.fixture
def proxy(own_redis_server: RedisServer) -> Iterator[Proxy]:
    """Between this process's alias "instances" and the server; "elsewhere" has it to itself."""
    direct = near_config("django-redis", own_redis_server.url())
    with Proxy(own_redis_server.port) as proxy:
        location = direct["LOCATION"].replace(f":{own_redis_server.port}/", f":{proxy.port}/")
        with near_caches(elsewhere=direct, instances={**direct, "LOCATION": location}):
            yield proxy


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return which of the channel's lines were logged, by their names."""
    told = (record.getMessage() for record in caplog.records)
    ours = [text for text in told if "eceiving invalidations from " in text]
    return ["down" if text.startswith("Not receiving") else "up" for text in ours]


def comes_back(alias: str = "instances") -> None:
    wait_until(lambda: is_sure(alias), LONG)
    wait_for_delivery(alias)


@pytest.fixture
def denied(own_redis_server: RedisServer) -> Iterator[None]:
    """A user of the server who may not subscribe."""
    words = ("ACL", "SETUSER", "deaf", "on", ">pw", "~*", "&*", "+@all", "-subscribe")
    assert own_redis_server.command(*words) == b"+OK"
    url = own_redis_server.url().replace("//", "//deaf:pw@")
    with near_caches(instances=near_config("django-redis", url)):
        yield


@contextmanager
def counted_tries(
    monkeypatch: pytest.MonkeyPatch, pause: Callable[[float], object]
) -> Iterator[Any]:
    """Provide the list of pauses so far, each of them replaced by ``pause``."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        pause(seconds)

    monkeypatch.setattr("instance_lookup.cache.pubsub.sleep", sleep)
    yield pauses


def test_subscribe_denied_is_one_warning(
    denied: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A denied subscription is tried again, less and less often, with one warning."""
    with counted_tries(monkeypatch, lambda _: None) as pauses:
        here = near_resolver()
        seen(here), seen(here)
        wait_until(lambda: len(pauses) > 6, LONG)
    assert pauses[:6] == [0.1, 0.2, 0.5, 1.0, 1.0, 1.0]
    assert lines(caplog) == ["down"]
    (record,) = (record for record in caplog.records if "invalidations" in record.getMessage())
    assert re.fullmatch(
        r"Not receiving invalidations from Redis at 127\.0\.0\.1:\d+ \(NoPermissionError\); "
        r"in-memory copies are used for 1 s at most\.",
        record.getMessage(),
    )
    assert record.levelname == "WARNING"


@pytest.mark.parametrize(("passed", "is_kept"), [(0.5, True), (1.0, False)])
def test_subscribe_denied_clamps(
    denied: None, monkeypatch: pytest.MonkeyPatch, passed: float, is_kept: bool
) -> None:
    """Without a channel an entry is kept for a second, though NEAR_CACHE_TTL is longer."""
    failed, go_on = Event(), Event()

    def pause(_: float) -> None:
        failed.set()
        go_on.wait(LONG)

    with counted_tries(monkeypatch, pause):
        here = near_resolver()
        seen(here)
        assert failed.wait(LONG)
        frozen = monotonic()
        monkeypatch.setattr("instance_lookup.cache.tiers.monotonic", lambda: frozen)
        monkeypatch.setattr("instance_lookup.cache.near.monotonic", lambda: frozen + passed)
        seen(here)
        assert (at_hand(here) is not None) is is_kept
        go_on.set()


@pytest.mark.parametrize("outage", [refused, hung])
def test_lost_and_back(
    alias: str, own_redis_server: RedisServer, outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    """When Redis is lost, near entries are used for a second; both changes are logged once."""
    here, there = near_resolver(), near_resolver()
    settled(here)
    with outage(own_redis_server):
        with within(1):
            wait_until(lambda: not is_sure(), LONG)
        wait_until(lambda: lines(caplog) == ["down"], LONG)
        assert at_hand(here) is None
    comes_back()
    assert lines(caplog) == ["down", "up"]
    wait_until(lambda: settled(here) is not None, LONG)
    there.cache.invalidate("acme")
    wait_for_delivery()
    assert at_hand(here) is None


def test_connection_closed(alias: str, own_redis_server: RedisServer) -> None:
    """When a subscription was ended and begins again, the near cache is emptied first."""
    here = near_resolver()
    settled(here)
    own_redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
    with within(1):
        watch(here)
    comes_back()


def test_partition(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    """A process cut off from Redis serves invalidated entries for a second at most."""
    here, there = near_resolver(), near_resolver("elsewhere")
    settled(here)
    seen(there)
    wait_until(lambda: is_sure("elsewhere"), LONG)
    with proxy.cut():
        there.cache.invalidate("acme")
        with within(1):
            watch(here)
        wait_until(lambda: "down" in lines(caplog), LONG)
    comes_back()
    before = settled(here)
    there.cache.invalidate("acme")
    with within(1):
        watch(here)
    assert seen(here) != before
    assert lines(caplog) == ["down", "up"]


def test_partition_that_nobody_notices(proxy: Proxy) -> None:
    """After an unnoticed cut either the messages arrive or the near cache is emptied."""
    here, there = near_resolver(), near_resolver("elsewhere")
    settled(here)
    wait_until(lambda: settled(there, "elsewhere") is not None, LONG)
    with proxy.cut():
        there.cache.invalidate("acme")
    with within(1):
        watch(here)


def test_hearers_are_counted_under_the_lock() -> None:
    """Hearers are read under the lock: one that is added meanwhile would break the loop."""

    class Watched(WeakSet[Any]):
        def __iter__(self) -> Iterator[Any]:
            assert made._lock.locked()
            return super().__iter__()

    made, hearer = Channel("unused", "unused", "Redis"), Hearer()
    made._hearers = Watched([hearer])
    made._tell("instance", "acme")
    assert hearer.told == [("instance", "acme")]


def refuse(name: str, target: Callable[[], object]) -> threading.Thread:
    """Answer as a process that has no more threads."""
    raise RuntimeError("can't start new thread")


def test_no_thread_to_spare(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that can start no thread is answered, and keeps entries near only briefly."""
    monkeypatch.setattr("instance_lookup.cache.pubsub.start_daemon", refuse)
    here = near_resolver()
    first = seen(here)
    assert seen(here) == first  # read from Redis, and near from now on
    assert at_hand(here) == first
    assert not is_sure()


def test_cache_that_cannot_be_made(own_redis_server: RedisServer) -> None:
    """An error in CACHES counts as a failure of the cache, and lookups are still answered."""
    config = near_config("django-redis", own_redis_server.url())
    with near_caches(instances={**config, "LOCATION": "nonsense://host"}):
        assert near_resolver().resolve(asks()).source is Source.SERVICE
