"""Every kind of Django cache that the app promises to work on, as settings."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.conf import settings
from django.core.cache import caches
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from instance_lookup.cache.keyvalue import key_values
from instance_lookup.cache.redis_client import RedisClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCAL_KINDS = ("locmem", "locmem-small", "filebased", "db")
REDIS_KINDS = ("redis", "django-redis")
KINDS = LOCAL_KINDS + REDIS_KINDS
MEMCACHED_KINDS = ("pymemcache", "pylibmc")
"""By client. Only for tests that ask for them: a memcached is not on every machine."""


class _Sockets:
    """The module ``socket`` for pymemcache, whose clients close no connection but in their thread.

    Kept here until the cache is removed: a socket that is forgotten unclosed fails some later test.
    """

    def __init__(self) -> None:
        self.made: list[socket.socket] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    def socket(self, *args: Any) -> socket.socket:
        self.made.append(socket.socket(*args))
        return self.made[-1]

    def close(self) -> None:
        while self.made:
            self.made.pop().close()


_sockets = _Sockets()
MEMCACHED: dict[str, dict[str, Any]] = {
    "pymemcache": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "OPTIONS": {"connect_timeout": 1.0, "timeout": 1.0, "socket_module": _sockets},
    },
    "pylibmc": {
        "BACKEND": "django.core.cache.backends.memcached.PyLibMCCache",
        "OPTIONS": {
            "behaviors": {
                "connect_timeout": 1_000,
                "_poll_timeout": 1_000,
                "send_timeout": 1_000_000,
                "receive_timeout": 1_000_000,
            }
        },
    },
}
"""With timeouts of a second, as ``check --deploy`` wants them to be there."""
SMALL = 30
TABLE = "tests_cache"


def stored(alias: str, key: str) -> str | None:
    """Return what the app keeps under ``key``, as text."""
    value = key_values[alias].get(key)
    return value.decode() if isinstance(value, bytes) else value


@contextmanager
def use_cache(
    kind: str,
    *,
    alias: str = "instances",
    redis_url: str | None = None,
    memcached: str | None = None,
    directory: Path | None = None,
    prefix: str | None = None,
    **options: Any,
) -> Iterator[str]:
    """Provide an empty cache of one of the kinds under ``alias``, and remove it afterwards.

    The Redis kinds need ``redis_url``, those of memcached the address of one in ``memcached``,
    ``filebased`` a ``directory``, ``db`` the test's leave to use the database. ``options`` go into
    ``OPTIONS``, above ours.
    """
    config = cache_config(
        kind, redis_url=redis_url, memcached=memcached, directory=directory, **options
    )
    config["KEY_PREFIX"] = prefix or config["KEY_PREFIX"]
    if kind == "db":
        _create_table(alias, config)
    try:
        with override_settings(CACHES={**settings.CACHES, alias: config}):
            try:
                yield alias
            finally:
                _remove(kind, alias)
    finally:
        if kind == "db":
            _drop_table()


def cache_config(
    kind: str,
    *,
    redis_url: str | None = None,
    memcached: str | None = None,
    directory: Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return the entry of ``CACHES`` for one of the kinds, with a key prefix of its own."""
    name = f"tests-{uuid4().hex[:12]}"
    config: dict[str, Any] = {"KEY_PREFIX": name}
    match kind:
        case "locmem":
            config |= {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": name}
        case "locmem-small":
            config |= cache_config("locmem", MAX_ENTRIES=SMALL)
        case "filebased":
            assert directory is not None
            backend = "django.core.cache.backends.filebased.FileBasedCache"
            config |= {"BACKEND": backend, "LOCATION": str(directory / name)}
        case "db":
            config |= {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": TABLE}
        case "redis" | "django-redis":
            assert redis_url is not None
            config |= _redis_config(kind, redis_url, name)
        case "pymemcache" | "pylibmc":
            assert memcached is not None
            config |= {**MEMCACHED[kind], "LOCATION": memcached}
        case _:
            raise ValueError(f"no kind of cache {kind!r}; there are {KINDS + MEMCACHED_KINDS}")
    return config | {"OPTIONS": {**config.get("OPTIONS", {}), **options}}


def _redis_config(kind: str, url: str, name: str) -> dict[str, Any]:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # django-redis keeps one pool per URL for ever: the name makes this test's its own.
    location = f"{url}?client_name={name}"
    retry = Retry(NoBackoff(), 0)
    if kind == "redis":
        return {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": location,
            "OPTIONS": {"socket_connect_timeout": 1.0, "socket_timeout": 1.0, "retry": retry},
        }
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": location,
        "OPTIONS": {
            "SOCKET_CONNECT_TIMEOUT": 1.0,
            "SOCKET_TIMEOUT": 1.0,
            "CONNECTION_POOL_KWARGS": {"retry": retry},
        },
    }


def _remove(kind: str, alias: str) -> None:
    cache = caches[alias]
    if kind in REDIS_KINDS:
        _disconnect(kind, cache, alias)
    elif kind in MEMCACHED_KINDS:
        _sockets.close()  # its keys are its own; the server is there for one run of the tests
    else:
        cache.clear()


def _disconnect(kind: str, cache: Any, alias: str) -> None:
    """Empty the server, if the test left it alive, and close this cache's connections.

    Also those of the client that another thread was the first to make.
    """
    from redis.exceptions import RedisError

    try:
        cache.clear()
    except (RedisError, OSError):
        pass
    except Exception as error:
        if type(error).__name__ != "ConnectionInterrupted":
            raise
    if kind == "django-redis":
        from django_redis.pool import ConnectionFactory

        pool = ConnectionFactory._pools.pop(cache._server.split(",")[0], None)
        pools = [pool] if pool is not None else []
    else:
        pools = list(cache._cache._pools.values())
    if isinstance(found := key_values.get(alias), RedisClient):
        pools.append(found._client.connection_pool)
    for pool in pools:
        pool.disconnect()


def _create_table(alias: str, config: dict[str, Any]) -> None:
    with override_settings(CACHES={"default": settings.CACHES["default"], alias: config}):
        call_command("createcachetable", verbosity=0)


def _drop_table() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {TABLE}")
