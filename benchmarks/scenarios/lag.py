"""By how much the event loop is late while a thousand lookups are under way on it."""

from __future__ import annotations

import asyncio
from itertools import count
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

from django.core.cache import caches

from benchmarks import work
from benchmarks.machine import cores, redis_on
from benchmarks.results import Effort, Result
from benchmarks.rounds import in_turn, sampled

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable

    Ask = Callable[[str], Awaitable[object]]

TICK = 0.001
SERVICE_TIME = 0.05


def measure(effort: Effort) -> list[Result]:
    client, server = cores()
    at_once = 20 if effort.quick else 1_000
    loop = asyncio.new_event_loop()
    ids = [f"studio-{number}" for number in range(at_once)]
    with redis_on(server, client=client) as redis, work.caches_on(redis.url()):
        crowds = {
            "Django's aget, django-redis": _again(loop, _aget(ids), ids),
            "near": _again(loop, _aresolve(ids, near_cache_size=2 * at_once), ids),
            "shared": _again(loop, _aresolve(ids, near=False), ids),
            "shared, one instance": _again(loop, _aresolve(ids[:1], near=False), ids[:1] * at_once),
            "absent, a service of 50 ms": _anew(loop, at_once),
        }
        taken = in_turn(crowds, rounds=effort.rounds(15))
    return [
        Result(
            title=f"The event loop's worst delay in {at_once:,} lookups at once",
            unit="ms",
            samples=sampled(taken),
            ours=tuple(name for name in crowds if not name.startswith("Django")),
            placement=f"client on core {client}, Redis on core {server}",
            notes=(f"A task that wants to run every {1_000 * TICK:g} ms says how late it was.",),
        )
    ]


def _again(loop: AbstractEventLoop, ask: Ask, ids: list[str]) -> Callable[[], float]:
    return lambda: loop.run_until_complete(_lag(ask, ids))


def _anew(loop: AbstractEventLoop, at_once: int) -> Callable[[], float]:
    numbers = count()

    def fetch(instance_id: str) -> bytes:
        sleep(SERVICE_TIME)
        return work.body(instance_id)

    resolver = work.resolver(fetch)
    return lambda: loop.run_until_complete(
        _lag(
            lambda each: resolver.aresolve(work.context(each)),
            [f"new-{next(numbers)}" for _ in range(at_once)],
        )
    )


def _aget(ids: list[str]) -> Ask:
    for each in ids:
        caches["default"].set(each, work.body().decode())

    async def get(each: str) -> object:
        return work.decode(await caches["default"].aget(each))

    return get


def _aresolve(ids: list[str], **options: Any) -> Ask:
    resolver = work.resolver(near_cache_ttl=600, **options)
    for each in ids * 2:
        resolver.resolve(work.context(each))
    return lambda each: resolver.aresolve(work.context(each))


async def _lag(ask: Ask, ids: list[str]) -> float:
    """Ask for all at once; return the milliseconds by which the loop was late at worst."""
    worst = 0.0

    async def tick() -> None:
        nonlocal worst
        while True:
            due = perf_counter() + TICK
            await asyncio.sleep(TICK)
            worst = max(worst, perf_counter() - due)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(2 * TICK)
    worst = 0.0
    try:
        await asyncio.gather(*map(ask, ids))
        await asyncio.sleep(2 * TICK)  # what kept it until the last answer counts
    finally:
        ticking.cancel()
    return 1_000 * worst
