"""Counting one call for a rate limit on django-redis, against one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import work
from benchmarks.machine import cores, pin, redis_on
from benchmarks.results import Bound, Effort, Result
from benchmarks.rounds import interleaved, repeated
from instance_lookup import RateLimit
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.throttling.counter import get_counter

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = RateLimit(rpm=100_000_000, daily=1_000_000_000_000)
"""None of the calls is refused: those that are let through cost more."""


def measure(effort: Effort) -> list[Result]:
    one, other = cores()
    return [_measure(effort, client=one, server=core) for core in dict.fromkeys((one, other))]


def _measure(effort: Effort, *, client: int, server: int) -> Result:
    with redis_on(server, client=client) as redis_server, work.caches_on(redis_server.url()):
        pin(client)
        samples = interleaved(
            {name: repeated(call) for name, call in _contenders().items()},
            rounds=effort.rounds(60),
            calls=effort.calls(500),
        )
    where = "one core" if client == server else "two cores"
    return Result(
        title=f"A call counted on Redis, client and server on {where}",
        unit="µs",
        samples=samples,
        ours=("count()",),
        against="SET",
        bounds=(Bound("count()", 1.2, "SET"),),
        placement=f"client on core {client}, server on core {server}",
    )


def _contenders() -> dict[str, Callable[[], object]]:
    counter, cache = get_counter("default"), key_values["default"]
    return {
        "GET": lambda: cache.get("throttled-bench"),
        "SET": lambda: cache.set("throttled-bench", "{}", 60),
        "INCR, EXPIRE": lambda: cache.count("throttled-bench-count", 60),
        "count()": lambda: counter.count("render", work.ID, LIMIT, fail_open=False),
    }
