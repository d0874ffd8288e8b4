"""Processes that share a Redis: one of them listens to the stream, and all see what changes."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.outages.sites import get_all
from tests.support.forks import FORKS
from tests.support.running import running
from tests.support.stream_peer import StreamPeer
from tests.support.stream_server import StreamServer
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.redis_server import RedisServer

    Start = Callable[..., StreamPeer]

pytestmark = pytest.mark.extras

LIFE = 2.0


@pytest.fixture
def server() -> Iterator[StreamServer]:
    with StreamServer() as server:
        yield server


@pytest.fixture
def start(server: StreamServer, redis_server: RedisServer) -> Iterator[Start]:
    """Starts processes of one group; they end with the test."""
    prefix = f"tests-{uuid4().hex[:12]}"
    with ExitStack() as stack:

        def begin(**options: Any) -> StreamPeer:
            given = {"prefix": prefix, "life": LIFE, "redis_url": redis_server.url(), **options}
            return stack.enter_context(StreamPeer(server, given.pop("redis_url"), **given))

        yield begin


def pair(start: Start, server: StreamServer, **options: Any) -> tuple[StreamPeer, StreamPeer]:
    """Return the process that listens, and another one of its group."""
    holder, other = start(**options), start(**options)
    holder("see")
    server.opened()
    wait_until(lambda: holder("state") == "connected")
    other("see")
    return holder, other


def sees(peer: StreamPeer, expected: str, **which: bool) -> None:
    wait_until(lambda: peer("see", **which) == expected)


def test_one_connection(start: Start, server: StreamServer) -> None:
    """Two processes have one connection; both see a change at once, also what they hold near."""
    holder, other = pair(start, server)
    for version in range(2, 6):
        for peer in (holder, other):
            wait_until(lambda peer=peer: peer("see") and peer("near"))  # type: ignore[misc]
        server.change("instance.revoked" if version % 2 else "instance.updated")
        for peer in (holder, other):
            sees(peer, f"v{version}")
    assert server.asked == 1
    assert other("state") == "waiting"


@pytest.mark.full
def test_two_groups(start: Start, server: StreamServer) -> None:
    """Sites that share no keys listen each for itself."""
    first, second = start(), start(prefix=f"tests-{uuid4().hex[:12]}")
    first("see")
    second("see")
    server.opened(2)
    server.change()
    sees(first, "v2")
    sees(second, "v2")


def test_killed_holder(start: Start, server: StreamServer) -> None:
    """Another process takes over within the lease, and hears what changed meanwhile."""
    holder, other = pair(start, server)
    server.change()
    sees(other, "v2")
    holder.send(signal.SIGKILL)
    holder.process.wait(30)
    server.change()
    with within(1.5 * LIFE):
        assert server.opened(2).last_id == "1"
    sees(other, "v3")
    assert other("state") == "connected"


def test_suspended_holder(start: Start, server: StreamServer) -> None:
    """A process that stood still finds another one in its place, and stops to listen."""
    holder, other = pair(start, server)
    holder.send(signal.SIGSTOP)
    server.opened(2)
    server.change()
    sees(other, "v2")
    holder.send(signal.SIGCONT)
    wait_until(server.streams[0].has_ended.is_set)
    wait_until(lambda: holder("state") == "waiting")
    sees(holder, "v2")
    server.change()
    sees(holder, "v3")
    assert server.asked == 2
    assert len(server.open_streams()) == 1


@pytest.mark.full
def test_holder_that_leaves(start: Start, server: StreamServer) -> None:
    """A process that ends as told gives the lease back: no other waits for its end."""
    holder, other = pair(start, server, life=60.0)
    holder.leave()
    with within(1):
        server.opened(2)
        wait_until(lambda: other("state") == "connected")


FORK_PARAMS = [
    pytest.param(how, id=name, marks=[pytest.mark.full] if "below" in name else [])
    for name, how in FORKS.items()
]


@pytest.mark.parametrize("fork", FORK_PARAMS)
def test_fork(start: Start, server: StreamServer, fork: str) -> None:
    """A child competes from its own first lookups on, and takes over from its parent."""
    family = start(forks=fork)
    server.opened()
    for child in (False, True):
        family("see", child=child)
    server.change()
    for child in (False, True):
        sees(family, "v2", child=child)
    assert family("state", child=True) == "waiting"
    assert server.asked == 1
    family.send(signal.SIGKILL)
    wait_until(lambda: family("see", child=True) and family("state", child=True) == "connected")
    assert server.opened(2).last_id == "1"
    server.change()
    sees(family, "v3", child=True)


@pytest.mark.full
def test_redis_stopped_and_back(
    start: Start, server: StreamServer, own_redis_server: RedisServer
) -> None:
    """Without the cache there is no lease, so no process listens; with it one does again."""
    holder, other = pair(start, server, redis_url=own_redis_server.url())
    own_redis_server.stop()
    wait_until(lambda: not server.open_streams())
    assert holder("state") != "connected"
    own_redis_server.start()
    wait_until(lambda: len(server.open_streams()) == 1)
    wait_until(lambda: holder("state") == "connected" or other("state") == "connected")
    server.change()
    for peer in (holder, other):
        sees(peer, "v2")


@pytest.mark.full
def test_redis_hung_and_back(
    start: Start, server: StreamServer, own_redis_server: RedisServer
) -> None:
    """A cache that does not answer is no lease either; what changed meanwhile is heard after it."""
    holder, other = pair(start, server, redis_url=own_redis_server.url())
    server.change()
    sees(other, "v2")
    own_redis_server.pause()
    server.change()
    wait_until(lambda: not server.open_streams())
    own_redis_server.resume()
    wait_until(lambda: len(server.open_streams()) == 1)
    for peer in (holder, other):
        sees(peer, "v3")


def test_service_stopped_and_back(start: Start, server: StreamServer) -> None:
    """Lookups go on from the cache; when the service is back the stream goes on where it was."""
    holder, other = pair(start, server)
    server.change()
    sees(other, "v2")
    server.stop()
    wait_until(lambda: holder("state") != "connected")
    assert (holder("see"), other("see")) == ("v2", "v2")
    server.start_again()
    assert server.opened(2).last_id == "1"
    server.change()
    for peer in (holder, other):
        sees(peer, "v3")


SERVERS = {
    "gunicorn, preloaded": [
        *("gunicorn", "tests.outages.live_fleet:wsgi", "--bind", "fd://{fd}", "--preload"),
        *("--workers", "3", "--no-control-socket", "--worker-tmp-dir", "{tmp}"),
    ],
    "uvicorn": ["uvicorn", "tests.outages.live_fleet:asgi", "--fd", "{fd}", "--workers", "2"],
}


@pytest.mark.full
@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS)
def test_servers(
    server: StreamServer, redis_server: RedisServer, tmp_path: Path, command: list[str]
) -> None:
    """Of the workers of a server one listens; where they end by themselves it gives that back."""
    redis_server.command("FLUSHALL")
    environ = {"CONFIG_SERVICE_URL": server.url, "CONFIG_SERVICE_STREAM": "/stream"}
    with running(command, tmp_path, **environ, REDIS_URL=redis_server.url()) as site:
        # Each worker may hold it: ask until more than one has answered, and so competes.
        pids: set[str] = set()

        def all_ask() -> bool:
            pids.update(answer.headers["X-Pid"] for answer in get_all(site, ["acme"] * 8))
            return len(pids) > 1

        wait_until(all_ask)
        server.opened()
        get_all(site, ["acme"] * 8)
        before = server.documents
        server.change("instance.revoked")
        wait_until(lambda: get_all(site, ["acme"] * 4) and server.documents > before)
        assert server.asked == 1, (tmp_path / "log").read_text()
    # The first line is the number of keys. Workers of uvicorn end by a signal, and leave it.
    left = b"*1" if "uvicorn" in command else b"*0"
    assert redis_server.command("KEYS", "*instance_stream_lease*") == left
    assert redis_server.command("KEYS", "*instance_stream_id*") == b"*1"
