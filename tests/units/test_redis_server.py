from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.cache import caches
from django.db import connections

from tests.support.redis_server import RedisServer
from tests.support.server_process import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

    Ending = Callable[[RedisServer], None]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_start_answers(own_redis_server: RedisServer) -> None:
    """A started server can be used at once."""
    assert own_redis_server.command("SET", "key", "value") == b"+OK"
    assert own_redis_server.command("GET", "key") == b"$5"


@pytest.mark.parametrize("end", [RedisServer.stop, RedisServer.kill])
def test_ended_server_leaves_nothing_behind(own_redis_server: RedisServer, end: Ending) -> None:
    """An ended server leaves no process and no file."""
    pid, directory = own_redis_server.pid, Path(own_redis_server.directory)
    end(own_redis_server)
    assert not is_running(pid)
    assert not directory.exists()


def test_restart_is_empty_on_the_same_port(own_redis_server: RedisServer) -> None:
    """A crashed server comes back where its clients look for it, having lost everything."""
    url = own_redis_server.url()
    own_redis_server.command("SET", "key", "value")
    own_redis_server.kill()
    own_redis_server.start()
    assert own_redis_server.url() == url
    assert own_redis_server.command("EXISTS", "key") == b":0"


def test_paused_server_can_be_stopped(own_redis_server: RedisServer) -> None:
    """A test that fails while its server is paused leaves none behind."""
    pid = own_redis_server.pid
    own_redis_server.pause()
    own_redis_server.stop()
    assert not is_running(pid)


@pytest.mark.extras
def test_failing_start_is_an_error() -> None:
    """A server that does not come up fails the tests of Redis, with its own words."""
    with pytest.raises(ServerError, match="no-such-option"):
        RedisServer("--no-such-option", "1").start()


def test_cache_alias_works(cache_alias: str) -> None:
    """Each kind of cache stores, and starts empty."""
    assert caches[cache_alias].get("key") is None
    caches[cache_alias].set("key", "value")
    assert caches[cache_alias].get("key") == "value"


def test_cache_alias_is_shared_by_threads(cache_alias: str) -> None:
    """Threads see each other's entries: the test has no open transaction on the cache."""
    caches[cache_alias].set("key", "value")
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(read_and_close, cache_alias).result()
    assert found == "value"


def read_and_close(alias: str) -> object:
    try:
        return caches[alias].get("key")
    finally:
        connections.close_all()


@pytest.mark.parametrize("cache_kind", ["locmem-small"])
def test_small_cache_alias_culls(cache_alias: str) -> None:
    """The small locmem cache forgets, as a full one in production does."""
    cache = caches[cache_alias]
    for number in range(100):
        cache.set(str(number), number)
    assert len(cache.get_many([str(number) for number in range(100)])) < 100
