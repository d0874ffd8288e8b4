"""The demo's keys on a Redis that belongs to somebody."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from studio.caches import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator


class RedisAway(Exception):
    """There is no Redis to be had at the address, which ``args[0]`` says without its password."""


@contextmanager
def keys_removed(url: str, prefix: str) -> Iterator[None]:
    """Check that Redis answers; at the end remove the keys that begin with ``prefix``.

    Raises ``RedisAway``.
    """
    try:
        import redis  # noqa: PLC0415  # an extra
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415
    except ImportError as exc:
        raise RedisAway("Redis needs: pip install '.[redis]', in the folder of the clone") from exc
    retry = Retry(NoBackoff(), 0)
    try:
        client = redis.Redis.from_url(
            url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=retry
        )
        client.ping()
    except (redis.RedisError, ValueError) as exc:
        raise RedisAway(f"No Redis answers at {shown(url)} ({type(exc).__name__}).") from exc
    try:
        yield
    finally:
        with suppress(redis.RedisError), client:
            for key in client.scan_iter(match=f"{prefix}*", count=1000):
                client.delete(key)


def shown(url: str) -> str:
    """Return the address without what may let somebody in.

    >>> shown("redis://user:secret@127.0.0.1:6379/0?password=x")
    'redis://127.0.0.1:6379/0'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
