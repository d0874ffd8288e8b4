"""cashews: the read-through decorator on Redis, with or without its client-side cache."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cashews import Cache
from cashews.picklers import PicklerType
from cashews.serialize import register_type

from benchmarks.work import Config, decode, encode

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable

TTL = 300


async def _encode(value: Config, *args: Any) -> bytes:
    return encode(value)


async def _decode(value: bytes, *args: Any) -> Config:
    return decode(value)


register_type(Config, _encode, _decode)


def cache_on(loop: AbstractEventLoop, url: str, *, client_side: bool = False) -> Any:
    """Return a cache whose values are JSON on Redis, and ready objects in its client-side cache."""

    async def make() -> Any:
        cache = Cache()
        cache.setup(
            url,
            client_side=client_side,
            pickle_type=PicklerType.NULL,
            socket_timeout=20,
            max_connections=50,
            suppress=False,
        )
        await cache.init()
        return cache

    return loop.run_until_complete(make())


def getter(
    cache: Any,
    fetch: Callable[[str], Awaitable[bytes]],
    *,
    protected: bool = True,
    lock: bool = False,
    ttl: float = TTL,
) -> Callable[[str], Awaitable[Any]]:
    """Return the decorated fetch. ``protected``: one call in a process; ``lock``: one on Redis."""

    async def get(instance_id: str) -> Config:
        return decode(await fetch(instance_id))

    decorate = cache(ttl=ttl, key="{instance_id}", protected=protected, lock=lock)
    decorated: Callable[[str], Awaitable[Any]] = decorate(get)
    return decorated


def failing_over(
    cache: Any, fetch: Callable[[str], Awaitable[bytes]], *, ttl: float
) -> Callable[[str], Awaitable[Any]]:
    """Return the decorated fetch with a stale copy for when it fails, as documented."""
    inner = getter(cache, fetch, ttl=ttl)
    decorated: Callable[[str], Awaitable[Any]] = cache.failover(ttl=3600, key="{instance_id}")(
        inner
    )
    return decorated


def in_thread(fetch: Callable[[str], bytes]) -> Callable[[str], Awaitable[bytes]]:
    """Return the twin of a blocking fetch for the event loop."""

    async def afetch(instance_id: str) -> bytes:
        return await asyncio.to_thread(fetch, instance_id)

    return afetch
