"""Who can be asked by a crowd at once: each takes an id and the number of callers.

What comes back is how long each caller waited, in milliseconds.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier, Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from django.core.cache import caches

from benchmarks import peers, work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Crowd = Callable[[str, int], list[float]]


class World(NamedTuple):
    """The caches that a contender uses, and the function with which it fetches a document."""

    redis_url: str
    fetch: Callable[[str], bytes]


def in_threads(get: Callable[[str], object]) -> Crowd:
    """Return a crowd of threads, which set off together."""

    def ask(instance_id: str, callers: int) -> list[float]:
        ready = Barrier(callers)

        def call(_: int) -> float:
            ready.wait()
            begun = perf_counter()
            get(instance_id)
            return 1_000 * (perf_counter() - begun)

        with ThreadPoolExecutor(callers) as pool:
            return list(pool.map(call, range(callers)))

    return ask


def in_coroutines(
    loop: asyncio.AbstractEventLoop, get: Callable[[str], Awaitable[object]]
) -> Crowd:
    """Return a crowd of coroutines on one event loop."""

    async def ask(instance_id: str, callers: int) -> list[float]:
        async def call() -> float:
            begun = perf_counter()
            await get(instance_id)
            return 1_000 * (perf_counter() - begun)

        return await asyncio.gather(*(call() for _ in range(callers)))

    return lambda instance_id, callers: loop.run_until_complete(ask(instance_id, callers))


def resolve(world: World) -> Crowd:
    resolver = work.resolver(world.fetch)
    return in_threads(lambda instance_id: resolver.resolve(work.context(instance_id)))


def aresolve(world: World) -> Crowd:
    resolver = work.resolver(world.fetch)
    loop = asyncio.new_event_loop()
    return in_coroutines(loop, lambda instance_id: resolver.aresolve(work.context(instance_id)))


def naive(world: World) -> Crowd:
    return in_threads(partial(read_through, world.fetch))


def thread_lock(world: World) -> Crowd:
    lock = Lock()

    def fetch_if_absent(instance_id: str) -> bytes | str:
        with lock:
            found: str | None = caches["default"].get(f"naive:{instance_id}")
            return found or store(instance_id, world.fetch(instance_id))

    def get(instance_id: str) -> work.Config:
        found = caches["default"].get(f"naive:{instance_id}")
        return work.decode(found or fetch_if_absent(instance_id))

    return in_threads(get)


def read_through(fetch: Callable[[str], bytes], instance_id: str) -> work.Config:
    found = caches["default"].get(f"naive:{instance_id}")
    return work.decode(found or store(instance_id, fetch(instance_id)))


def store(instance_id: str, body: bytes, ttl: float = 300) -> bytes:
    caches["default"].set(f"naive:{instance_id}", body.decode(), ttl)
    return body


def dogpile(world: World) -> Crowd:
    peer = peers.load("dogpile")
    get = peer.getter(peer.redis_region(world.redis_url, distributed_lock=True), world.fetch)
    return in_threads(lambda instance_id: get(f"dogpile:{instance_id}"))


def cashews(world: World, **options: Any) -> Crowd:
    peer = peers.load("cashews")
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(256))  # no fetch waits for a thread
    get = peer.getter(peer.cache_on(loop, world.redis_url), peer.in_thread(world.fetch), **options)
    return in_coroutines(loop, lambda instance_id: get(f"cashews:{instance_id}"))


CONTENDERS: dict[str, Callable[[World], Crowd]] = {
    "naive": naive,
    "thread lock": thread_lock,
    "dogpile distributed lock": dogpile,
    "cashews": cashews,
    "cashews lock": partial(cashews, lock=True),
    "resolve()": resolve,
    "await aresolve()": aresolve,
}
"""By name."""
