"""Redis and Valkey, through an alias's own client and pool, past its serializer and compressor.

Keys are the alias's own: its prefix, version and key function. Values are plain UTF-8.
"""

from __future__ import annotations

import queue
import re
from functools import lru_cache
from hashlib import sha1
from inspect import signature
from ssl import SSLEOFError
from typing import TYPE_CHECKING, Any

from django.core.cache.backends.base import default_key_func

from instance_lookup.cache.former import FormerValues
from instance_lookup.frozen import SecretBytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.core.cache.backends.base import BaseCache

_KEYS_KEPT = 16_384
"""Keys whose full form is kept: it costs a tenth of what else a read does."""
_OURS = frozenset({b"{", b"g", b"z", "{", "g", "z"})
"""How values begin: JSON, a generation or what is encrypted, what is compressed."""
_SLOTS = re.compile("same (key )?slot")
"""In what a server, or a client of a cluster, says of keys that are not in one place."""
_INUSE = "inuse_connections"
"""Not every pool can close those that wait alone."""
_BROKEN = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError, SSLEOFError)


class Script:
    """A script in Lua that works on one key: so it runs on a cluster, too."""

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        """``text`` reads the one key in ``KEYS[1]`` and the one argument in ``ARGV[1]``."""
        self.text = text
        digest = sha1(text.encode(), usedforsecurity=False)  # a name, which the server gives it
        self.digest = digest.hexdigest().encode()


class RedisClient:
    """A cache on Redis or Valkey, for any number of threads.

    A pool may hold connections that a balancer or firewall on the way has forgotten. A command that
    fails on one of those is given once more, on a fresh connection. One that gets no answer in
    time, or no connection at all, is not: then the server is down.
    """

    keeps_nothing = False
    takes_bytes = True

    def __init__(self, cache: BaseCache, client: Any) -> None:
        """Speak by ``client``, see :func:`client_of`, for the alias that ``cache`` belongs to."""
        holder = _holder_of(cache)
        make_key = getattr(holder, "make_key", cache.make_key)
        # Bytes: the client would encode it again for each command.
        self._key: Callable[[str], bytes] = lambda key: str(make_key(key)).encode()
        if cache.key_func is default_key_func:  # another one may give other keys later
            self._key = lru_cache(_KEYS_KEPT)(self._key)
        self._client = client
        self._execute = client.execute_command
        self._former = FormerValues(holder)
        self._is_cluster = False
        self._repeated = 0

    def place(self, key: str) -> bytes:
        """Return the key in full, as the server has it."""
        return self._key(key)

    def get_many(self, keys: Sequence[str]) -> list[Any]:
        """Return the value of each key, in the order of ``keys``; ``None``: there is none."""
        made = map(self._key, keys)
        if self._is_cluster:
            values = self._call(self._get_each, *made)
        else:
            try:
                values = self._call(self._execute, "MGET", *made)
            except Exception as exc:
                # A node of a cluster, which takes one command for keys of one slot only.
                if not _SLOTS.search(str(exc)):
                    raise
                self._is_cluster = True
                return self.get_many(keys)
        return [
            value if value is None or value[:1] in _OURS else self._former.read(value)
            for value in values
        ]

    def get(self, key: str) -> Any:
        """Return the value of a key; ``None``: there is none."""
        value = self._call(self._execute, "GET", self._key(key))
        return value if value is None or value[:1] in _OURS else self._former.read(value)

    def set(self, key: str, value: str | bytes, life: int | None) -> None:
        """Store a value."""
        self._call(self._execute, "SET", self._key(key), _hidden(value), *_expiry(life))

    def add(self, key: str, value: str | bytes, life: int | None) -> bool | None:
        """Store a value if the key has none; ``None``: whether that was done is not known."""
        repeated = self._repeated
        words = ("SET", self._key(key), _hidden(value), "NX", *_expiry(life))
        if self._call(self._execute, *words):
            return True
        # Where the command was given twice, it may be the first one that left the key taken.
        return False if self._repeated == repeated else None

    def touch(self, key: str, life: int) -> None:
        """Give a value another life."""
        self._call(self._execute, "EXPIRE", self._key(key), life)

    def delete(self, key: str) -> bool:
        """Remove a value; tell whether there was one."""
        return bool(self._call(self._execute, "DEL", self._key(key)))

    def count(self, key: str, life: int) -> int:
        """Add one to the number at a key, 0 where there is none; return it."""
        return int(self._call(self._add_one, self._key(key), life))

    def run(self, script: Script, key: str, argument: bytes) -> bytes:
        """Run a script on one key, with one argument, and return the bytes that it returns.

        By its digest, and with its text where the server does not have it, or no longer.
        """
        words = (b"1", self._key(key), argument)
        try:
            return bytes(self._call(self._run, "EVALSHA", script.digest, *words))
        except Exception as exc:
            if type(exc).__name__ != "NoScriptError":  # of redis-py or valkey-py
                raise
        return bytes(self._call(self._run, "EVAL", script.text, *words))

    def _run(self, *words: Any) -> Any:
        # Whether the alias has all other answers decoded or not.
        return self._execute(*words, NEVER_DECODE=True)

    def publish(self, channel: str, message: bytes) -> None:
        """Tell all who listen to a channel."""
        self._call(self._execute, "PUBLISH", channel, message)

    def _get_each(self, *made: bytes) -> list[Any]:
        """Return the values of keys of several slots: one command each, sent together.

        The order counts, since others may write in between: an entry comes before the generations
        that it is compared with.
        """
        pipeline = self._client.pipeline(transaction=False)
        for key in made:
            pipeline.get(key)
        values: list[Any] = pipeline.execute()
        return values

    def _add_one(self, key: bytes, life: int) -> int:
        """Count, and say when that ends: sent together, so that no count stays for ever."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.execute_command("INCR", key)  # its own "incr" sends INCRBY
        pipeline.expire(key, life)
        number: int = pipeline.execute()[0]
        return number

    def _call(self, command: Callable[..., Any], *words: Any) -> Any:
        try:
            return command(*words)
        except Exception as exc:
            if not self._mends(exc):
                raise
        self._repeated += 1
        return command(*words)

    def _mends(self, exc: Exception) -> bool:
        """Tell whether to try once more after an error, and have that use a fresh connection."""
        kind = type(exc).__name__  # of redis-py or valkey-py; their subclasses say something else
        if kind not in {"ConnectionError", "TimeoutError"}:
            return False
        reason = exc.__cause__ or exc.__context__
        if has_none_left(exc) or isinstance(reason, queue.Empty):  # of a pool that has waited
            return False
        # The others that wait in the pool may be as forgotten as this one was. Those in use stay.
        pool = getattr(self._client, "connection_pool", None)
        if pool is not None and _INUSE in signature(pool.disconnect).parameters:
            pool.disconnect(**{_INUSE: False})
        broke = not isinstance(reason, OSError) or isinstance(reason, _BROKEN)
        return broke and kind == "ConnectionError"


def has_none_left(exc: Exception) -> bool:
    """Tell whether a pool that does not wait had no connection left: the server was not asked."""
    return isinstance(exc.__cause__ or exc.__context__, IndexError)


def client_of(cache: BaseCache) -> Any:
    """Return the client that a cache of Redis or Valkey writes with, ``None`` for other caches.

    ``None`` also where keys are spread over servers by a client of django-redis or django-valkey.
    """
    holder = _holder_of(cache)
    if holder is None or hasattr(holder, "get_server_name"):
        return None
    client = holder.get_client(write=True)
    return client if hasattr(client, "pubsub") else None


def _holder_of(cache: BaseCache) -> Any:
    """Return what a cache has its client from: django-redis' and django-valkey's, or Django's."""
    for name in ("client", "_cache"):
        if hasattr(holder := getattr(cache, name, None), "get_client"):
            return holder
    return None


def _hidden(value: str | bytes) -> SecretBytes:
    """Return ``value`` for the server, such that instrumentation of the client does not show it."""
    return SecretBytes(value.encode() if isinstance(value, str) else value)


def _expiry(life: int | None) -> tuple[Any, ...]:
    return () if life is None else ("EX", life)
