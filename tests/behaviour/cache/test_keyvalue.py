"""Caches that are reached by Django: every one that has no client of Redis or Valkey."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.test import override_settings

from instance_lookup.cache.keyvalue import DjangoCache, KeyValue, key_values
from tests.support.caches import cache_config
from tests.support.lookups import HookedCache, hooked_caches, hooks
from tests.support.server_process import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERBS: dict[str, Callable[[KeyValue], object]] = {
    "get": lambda cache: cache.get("a"),
    "set": lambda cache: cache.set("a", "g1", 60),
    "add": lambda cache: cache.add("b", "g1", 60),
    "touch": lambda cache: cache.touch("a", 60),
    "delete": lambda cache: cache.delete("a"),
}
each_verb = pytest.mark.parametrize("verb", VERBS)


UnexpectedClose, Disconnected, ServerDown = (
    type(name, (Exception,), {"__module__": module})
    for module, name in (
        ("pymemcache.exceptions", "MemcacheUnexpectedCloseError"),
        ("pylibmc", "ConnectionError"),
        ("pylibmc", "ServerDown"),
    )
)
"""What the clients of memcached raise, which may not be installed."""


@pytest.fixture(autouse=True)
def cache() -> Iterator[KeyValue]:
    with override_settings(CACHES=hooked_caches()):
        cache = key_values["default"]
        assert isinstance(cache, DjangoCache)
        cache.set("a", "g0", 60)
        yield cache


class Fails:
    """A hook that raises ``error`` the first ``times`` that it is called."""

    def __init__(self, error: Exception, times: int) -> None:
        self._error = error
        self._times = times
        self.calls = 0

    def __call__(self, verb: str, key: str) -> None:
        self.calls += 1
        if self.calls <= self._times:
            raise self._error


@each_verb
@pytest.mark.parametrize(
    "error",
    [ConnectionResetError(), BrokenPipeError(), UnexpectedClose(), Disconnected(), ServerDown()],
    ids=lambda error: type(error).__name__,
)
def test_connection_that_broke_is_tried_once_more(
    cache: KeyValue, verb: str, error: Exception
) -> None:
    """A command on a broken connection is repeated once: another connection may work."""
    with hooks(fails := Fails(error, 1)):
        VERBS[verb](cache)
    assert fails.calls >= 2


@each_verb
def test_second_try_is_the_last(cache: KeyValue, verb: str) -> None:
    """A server that resets each connection is down."""
    with hooks(fails := Fails(ConnectionResetError(), 9)), pytest.raises(ConnectionResetError):
        VERBS[verb](cache)
    assert fails.calls == 2


@each_verb
@pytest.mark.parametrize("error", [ConnectionRefusedError(), TimeoutError(), ValueError()])
def test_other_errors_are_not_tried_again(cache: KeyValue, verb: str, error: Exception) -> None:
    """Any other error is not repeated: it would only cost the same time again."""
    with hooks(fails := Fails(error, 9)), pytest.raises(type(error)):
        VERBS[verb](cache)
    assert fails.calls == 1


def test_many_are_read_once_more(cache: KeyValue) -> None:
    """A read of many keys is repeated once, as one read."""
    with hooks(Fails(ConnectionResetError(), 1)):
        assert cache.get_many(["a", "nothing", "a"]) == ["g0", None, "g0"]


@pytest.mark.parametrize(("answer", "told"), [(True, True), (False, False), (None, None)])
def test_add_tells_whether_it_is_known(
    cache: KeyValue, monkeypatch: pytest.MonkeyPatch, answer: bool | None, told: bool | None
) -> None:
    """A backend that swallows its failures answers ``None``."""
    monkeypatch.setattr(HookedCache, "add", lambda *args: answer)
    assert cache.add("b", "g1", 60) is told


@pytest.mark.extras
def test_refusing_memcached_is_an_error_each_time() -> None:
    """A memcached that refuses connections is an error each time, not a miss."""
    memcached = cache_config("pymemcache", memcached=f"127.0.0.1:{free_port()}")
    with override_settings(CACHES={"default": memcached}):
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                key_values["default"].get_many(["a"])
