"""What the whole of ``resolve()`` is made of when the answer is near."""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING, Any

from benchmarks import work
from benchmarks.machine import cores, pin, redis_on
from benchmarks.results import Effort, Result
from benchmarks.rounds import interleaved, repeated
from instance_lookup.access import authorize
from instance_lookup.types import LookupResult, Source

if TYPE_CHECKING:
    from collections.abc import Callable


def measure(effort: Effort) -> list[Result]:
    """Time each step by itself, and the whole; what is left is the calls between them."""
    core, _ = cores()
    with redis_on(core, client=core) as server, work.caches_on(server.url()):
        pin(core)
        resolver, context = work.resolver(near_cache_ttl=600), work.context()
        for _ in range(2):
            resolver.resolve(context)
        samples = interleaved(
            {name: repeated(step) for name, step in _steps(resolver, context).items()},
            rounds=effort.rounds(60),
            calls=effort.calls(5_000),
        )
    return [
        Result(
            title="What an answer that is near is made of",
            unit="µs",
            samples=samples,
            ours=("the whole of resolve()",),
            against="the whole of resolve()",
            placement=f"on core {core}",
            notes=("Each with the call of a function that it is timed by, some 0.03 µs.",),
        )
    ]


def _steps(resolver: Any, context: Any) -> dict[str, Callable[[], object]]:
    found = resolver.resolve(context)
    user, config, grant = context.user, found.config, found.grant
    near = resolver.cache.tiers.near
    return {
        "dict + clock": lambda: ({work.ID: config}[work.ID], monotonic()),
        "id check": lambda: resolver.selector.is_id(work.ID),
        "entry: freshness, sure of invalidations, last used": lambda: near.get(work.ID),
        "access policy, and the grant": lambda: authorize(user, config, resolver.policy),
        "statistics": lambda: resolver.cache.counters.add("hits"),
        "result": lambda: LookupResult(config, Source.CACHE, time(), 1.0, grant),
        "the whole of resolve()": lambda: resolver.resolve(context),
    }
