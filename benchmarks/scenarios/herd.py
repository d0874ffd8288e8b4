"""Two hundred callers of an instance that is not cached, and a service that takes 100 ms."""

from __future__ import annotations

from functools import partial
from itertools import count
from time import sleep
from typing import TYPE_CHECKING

from benchmarks import peers, work
from benchmarks.contenders import CONTENDERS, World
from benchmarks.machine import cores, redis_on
from benchmarks.results import Bound, Effort, Result
from benchmarks.rounds import Sample, in_turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.contenders import Crowd

WHO = (
    "thread lock",
    "dogpile distributed lock",
    "cashews",
    "cashews lock",
    "resolve()",
    "await aresolve()",
)
BOUNDS = (Bound("resolve()", 1.1, "thread lock"), Bound("await aresolve()", 1.1, "thread lock"))


def measure(effort: Effort) -> list[Result]:
    client, server = cores()
    callers = 20 if effort.quick else 200
    with redis_on(server, client=client) as redis, work.caches_on(redis.url()):
        crowds, missing = peers.build_all(
            {name: partial(CONTENDERS[name], World(redis.url(), _slow)) for name in WHO}
        )
        taken = in_turn(
            {name: _cold(crowd, name, callers) for name, crowd in crowds.items()},
            rounds=effort.rounds(15),
        )
    return [
        Result(
            title=f"A cold herd of {callers} on a service of 100 ms: {caller} waits",
            unit="ms",
            samples={
                name: Sample(tuple(_quantile(waits, share) for waits in rounds))
                for name, rounds in taken.items()
            },
            ours=("resolve()", "await aresolve()"),
            against="thread lock",
            bounds=BOUNDS,
            placement=f"callers on core {client}, Redis on core {server}",
            missing=missing,
            notes=("`cashews` and `await aresolve()` are coroutines, the others threads.",),
        )
        for caller, share in (("the median caller", 0.5), ("the p99 caller", 0.99))
    ]


def _slow(instance_id: str) -> bytes:
    sleep(0.1)
    return work.body(instance_id.rpartition(":")[2])


def _cold(crowd: Crowd, name: str, callers: int) -> Callable[[], list[float]]:
    """Return a round: another instance each time, which was not asked for before."""
    numbers = count()
    slug = "".join(filter(str.isalnum, name))
    return lambda: crowd(f"{slug}-{next(numbers)}", callers)


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
