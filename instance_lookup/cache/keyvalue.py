"""What is asked of the shared cache, and the two ways to ask: Redis at first hand, or by Django.

``key_values[alias]`` is the way to a cache. Redis and Valkey are spoken to by :class:`RedisClient`,
every other backend by :class:`DjangoCache`. Both try once more where a connection broke.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.memcached import BaseMemcachedCache
from django.core.signals import setting_changed

from instance_lookup.cache.redis_client import RedisClient, client_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_BROKEN = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError)
_BROKEN_MEMCACHED = frozenset({
    "pymemcache.exceptions.MemcacheUnexpectedCloseError",
    "pylibmc.ConnectionError",
    "_pylibmc.ConnectionError",
    # Of a client that takes the server for dead, by errors that the site met: it was not asked.
    "pymemcache.exceptions.MemcacheError",
    "pylibmc.ServerDown",
    "_pylibmc.ServerDown",
})  # fmt: skip


class KeyValue(Protocol):
    """A cache, without what only some have. Each method raises what the backend raises.

    A ``key`` is without the alias's prefix and version. A ``value`` is text, or bytes where
    the cache ``takes_bytes``. Its ``life`` is in
    whole seconds; ``None``: for ever.
    """

    @property
    def keeps_nothing(self) -> bool:
        """Whether it is a cache that stores nothing by design."""

    @property
    def takes_bytes(self) -> bool:
        """Whether it stores any bytes as they are."""

    def place(self, key: str) -> bytes:
        """Return the key in full, as the server has it: what is sealed belongs there."""

    def get_many(self, keys: Sequence[str]) -> list[Any]:
        """Return the value of each key, in the order of ``keys``; ``None``: there is none."""

    def get(self, key: str) -> Any:
        """Return the value of a key; ``None``: there is none."""

    def set(self, key: str, value: str | bytes, life: int | None) -> None:
        """Store a value."""

    def add(self, key: str, value: str | bytes, life: int | None) -> bool | None:
        """Store a value if the key has none; ``None``: whether that was done is not known."""

    def touch(self, key: str, life: int) -> None:
        """Give a value another life."""

    def delete(self, key: str) -> bool:
        """Remove a value; tell whether there was one."""

    def count(self, key: str, life: int) -> int:
        """Add one to the number at a key, 0 where there is none; return it."""

    def publish(self, channel: str, message: bytes) -> None:
        """Tell all who listen to a channel; where there are no channels, do nothing."""


class DjangoCache:
    """A cache that is reached through Django's API, in each thread by the thread's own object."""

    takes_bytes = False

    def __init__(self, alias: str) -> None:
        self._alias = alias

    @property
    def keeps_nothing(self) -> bool:
        """Whether it is Django's ``DummyCache``."""
        return isinstance(caches[self._alias], DummyCache)

    @property
    def counts_each(self) -> bool:
        """Whether it adds to a number in one step, so that no ``count`` is lost."""
        return type(caches[self._alias]).incr is not BaseCache.incr

    def place(self, key: str) -> bytes:
        return str(caches[self._alias].make_key(key)).encode()

    def get_many(self, keys: Sequence[str]) -> list[Any]:
        found = dict(self._call("get_many", keys))  # a backend may answer with no dict at all
        return [found.get(key) for key in keys]

    def get(self, key: str) -> Any:
        return self._call("get", key)

    def set(self, key: str, value: str | bytes, life: int | None) -> None:
        self._call("set", key, value, life)

    def add(self, key: str, value: str | bytes, life: int | None) -> bool | None:
        try:
            added: bool | None = self._call("add", key, value, life, again=True)
        except Exception as exc:
            if not _is_broken(exc):
                raise
            # The first one may have left the key taken: then it is not known who has it.
            added = self._call("add", key, value, life, again=True) or None
        return None if added is None else bool(added)

    def touch(self, key: str, life: int) -> None:
        self._call("touch", key, life)

    def delete(self, key: str) -> bool:
        return bool(self._call("delete", key))

    def count(self, key: str, life: int) -> int:
        if not self.counts_each:
            # That reads and writes as well, and forgets the life: counts may be lost between.
            number = int(self._call("get", key) or 0) + 1
            self._call("set", key, number, life)
            return number
        self._call("add", key, 0, life)
        return int(self._call("incr", key))

    def publish(self, channel: str, message: bytes) -> None:
        """Do nothing: no process listens to a cache that has no channels."""

    def _call(self, verb: str, *args: Any, again: bool = False) -> Any:
        """Call a method of the cache; once more if its connection broke, unless it is ``again``."""
        cache = caches[self._alias]
        try:
            return getattr(cache, verb)(*args)
        except Exception as exc:
            _forget_error(cache)
            if again or not _is_broken(exc):
                raise
        return self._call(verb, *args, again=True)


def _forget_error(cache: BaseCache) -> None:
    """Have a cache on memcached make another client.

    After an error its clients take the server for dead, pymemcache for up to a minute: reads find
    nothing and writes do nothing, without an error. When to try again is our own decision.
    """
    if isinstance(cache, BaseMemcachedCache):
        cache.close()
        vars(cache).pop("_cache", None)


def _is_broken(exc: Exception) -> bool:
    """Tell whether a new connection may help: the kept one was broken, or not used at all."""
    name = f"{type(exc).__module__}.{type(exc).__name__}"
    return isinstance(exc, _BROKEN) or name in _BROKEN_MEMCACHED


class _KeyValues(dict[str, KeyValue]):
    """One for each alias, as Django's ``caches``, and for all threads of the process.

    Django makes ``caches[alias]`` for each request under ASGI, and for each thread elsewhere. The
    clients of Redis and Valkey are for any number of threads, and notice a fork by themselves.
    """

    def __missing__(self, alias: str) -> KeyValue:
        cache = caches[alias]
        client = client_of(cache)
        found = DjangoCache(alias) if client is None else RedisClient(cache, client)
        # One step: of two threads that come here at the same moment, both use the first one's.
        return self.setdefault(alias, found)


key_values = _KeyValues()


def _start_again(*, setting: str, **kwargs: object) -> None:
    if setting == "CACHES":
        key_values.clear()


setting_changed.connect(_start_again)
