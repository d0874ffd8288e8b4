"""A shared hit in the event loop, a hundred of them under way together."""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import TYPE_CHECKING, Any

import redis.asyncio
from django.core.cache import caches

from benchmarks import work
from benchmarks.machine import cores, redis_on
from benchmarks.results import Bound, Effort, Result
from benchmarks.rounds import gathered, interleaved

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable

AT_ONCE = 100
OURS = ("await aresolve(), one instance", f"await aresolve(), {AT_ONCE} instances")
BOUNDS = tuple(Bound(ours, 0.6, "Django's aget, django-redis") for ours in OURS)


def measure(effort: Effort) -> list[Result]:
    core, _ = cores()
    loop = asyncio.new_event_loop()
    with redis_on(core, client=core) as server, work.caches_on(server.url()):
        calls = {
            "redis.asyncio GET + msgspec": _redis(loop, server.url()),
            "Django's aget, django-redis": _aget("default"),
            "Django's aget, RedisCache": _aget("builtin"),
            OURS[0]: _aresolve(1),
            OURS[1]: _aresolve(AT_ONCE),
        }
        samples = interleaved(
            {name: gathered(loop, call, at_once=AT_ONCE) for name, call in calls.items()},
            rounds=effort.rounds(40),
            calls=effort.calls(500, quick=AT_ONCE),
        )
    return [
        Result(
            title=f"A shared hit through the event loop, {AT_ONCE} at once, per call",
            unit="µs",
            samples=samples,
            ours=OURS,
            against="redis.asyncio GET + msgspec",
            bounds=BOUNDS,
            placement=f"client and server on core {core}",
        )
    ]


def _redis(loop: AbstractEventLoop, url: str) -> Callable[[], Awaitable[object]]:
    # Twenty connections serve a hundred faster than a hundred do: each costs its own reads.
    pool: Any = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=20, timeout=20)
    client: Any = redis.asyncio.Redis(connection_pool=pool)
    loop.run_until_complete(client.set("bare", work.body()))

    async def get() -> object:
        return work.decode(await client.get("bare"))

    return get


def _aget(alias: str) -> Callable[[], Awaitable[object]]:
    caches[alias].set("peer", work.body().decode())

    async def get() -> object:
        return work.decode(await caches[alias].aget("peer"))

    return get


def _aresolve(instances: int) -> Callable[[], Awaitable[object]]:
    resolver = work.resolver(near=False)
    contexts = [work.context(f"studio-{number}") for number in range(instances)]
    for context in contexts:
        resolver.resolve(context)
    turns = cycle(contexts)
    return lambda: resolver.aresolve(next(turns))
