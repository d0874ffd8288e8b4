"""Configurations of 1, 10 and 100 KB: what a shared hit takes, and where its time goes."""

from __future__ import annotations

import cProfile
import pstats
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from benchmarks import work
from benchmarks.machine import cores, redis_on
from benchmarks.results import Effort, Result
from benchmarks.rounds import interleaved, repeated

if TYPE_CHECKING:
    from collections.abc import Callable

KILOBYTES = (1, 10, 100)
SHOWN = 6
"""Functions of the profile."""


def measure(effort: Effort) -> list[Result]:
    core, _ = cores()
    with redis_on(core, client=core) as server, work.caches_on(server.url()):
        return [_measure(effort, server.url(), kilobytes, core) for kilobytes in KILOBYTES]


def _measure(effort: Effort, url: str, kilobytes: int, core: int) -> Result:
    near, far = _resolve(kilobytes), _resolve(kilobytes, near=False)
    samples = interleaved(
        {
            "redis-py GET + msgspec": repeated(_redis(url, kilobytes)),
            "resolve()": repeated(near),
            "resolve() that keeps nothing near": repeated(far),
        },
        rounds=effort.rounds(20),
        calls=effort.calls(200),
    )
    return Result(
        title=f"A configuration of {kilobytes} KB",
        unit="µs",
        samples=samples,
        ours=("resolve()", "resolve() that keeps nothing near"),
        against="redis-py GET + msgspec",
        placement=f"client and server on core {core}",
        notes=(_profile(far, effort.calls(2_000)),),
    )


def _redis(url: str, kilobytes: int) -> Callable[[], object]:
    client: Any = redis.Redis.from_url(url)
    client.set(f"bare-{kilobytes}", work.body(kilobytes=kilobytes))
    return lambda: work.decode(client.get(f"bare-{kilobytes}"))


def _resolve(kilobytes: int, *, near: bool = True) -> Callable[[], object]:
    instance_id = f"of-{kilobytes}-KB"

    def fetch(_: str) -> bytes:
        return work.body(instance_id, kilobytes=kilobytes)

    resolver, context = work.resolver(fetch, near=near), work.context(instance_id)
    return lambda: resolver.resolve(context)


def _profile(call: Callable[[], object], calls: int) -> str:
    """Return where the time of a call goes. A profiler makes Python's share look larger."""
    profile = cProfile.Profile()
    profile.runcall(repeated(call), calls)
    stats: Any = pstats.Stats(profile)
    by_own_time = sorted(stats.stats.items(), key=lambda each: -each[1][2])
    parts = [
        f"{own / stats.total_tt:.0%} `{_place(file, function)}`"
        for (file, _, function), (_, _, own, _, _) in by_own_time[:SHOWN]
    ]
    return f"Where the time of a shared hit goes, under cProfile: {', '.join(parts)}."


def _place(file: str, function: str) -> str:
    """Return a name for a function without the paths of this machine."""
    if file == "~":
        return function.strip("<>")
    return f"{Path(file).parent.name}/{Path(file).name}: {function}"
