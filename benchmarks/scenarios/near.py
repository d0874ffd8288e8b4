"""An answer that is in this process already: the whole of ``resolve()``, and of ``aresolve()``."""

from __future__ import annotations

import asyncio
from time import time
from typing import TYPE_CHECKING, Any

from django.core.cache import caches

from benchmarks import peers, work
from benchmarks.machine import cores, redis_on
from benchmarks.results import Bound, Effort, Result
from benchmarks.rounds import awaited, interleaved, repeated

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

BOUNDS = (
    Bound("resolve()", 0.4, "dogpile memory"),
    Bound("resolve()", 0.06, "cashews, client side"),
    Bound("await aresolve()", 0.1, "cashews, client side"),
)


def measure(effort: Effort) -> list[Result]:
    core, _ = cores()
    loop = asyncio.new_event_loop()
    with redis_on(core, client=core) as server, work.caches_on(server.url()):
        contenders, missing = _contenders(loop, server.url())
        samples = interleaved(contenders, rounds=effort.rounds(40), calls=effort.calls(5_000))
    return [
        Result(
            title="An answer that is near: the whole of resolve() and aresolve()",
            unit="µs",
            samples=samples,
            ours=("resolve()", "await aresolve()"),
            against="dict + clock",
            bounds=BOUNDS,
            placement=f"all on core {core}",
            missing=missing,
        )
    ]


def _contenders(
    loop: AbstractEventLoop, url: str
) -> tuple[dict[str, Callable[[int], object]], tuple[str, ...]]:
    return peers.build_all(
        {
            "dict + clock": _floor,
            "dogpile memory": _dogpile,
            "locmem cache.get": _locmem,
            "cashews, client side": lambda: _cashews(loop, url, protected=True),
            "cashews, client side, unprotected": lambda: _cashews(loop, url, protected=False),
            "resolve()": _resolve,
            "await aresolve()": lambda: _aresolve(loop),
        }
    )


def _floor() -> Callable[[int], object]:
    """Return what nothing can be below: no id is checked, no user authorized."""
    near = {work.ID: (work.decode(work.body()), time() + 3600)}

    def get() -> Any:
        config, until = near[work.ID]
        return config if time() < until else None

    return repeated(get)


def _dogpile() -> Callable[[int], object]:
    dogpile = peers.load("dogpile")
    get = dogpile.memory_region().get_or_create
    return repeated(lambda: get(work.ID, lambda: work.decode(work.body())))


def _locmem() -> Callable[[int], object]:
    cache = caches["local"]
    # As plain data, which is what it pickles fastest.
    cache.set(work.ID, work.CONFIG)
    return repeated(lambda: cache.get(work.ID))


def _cashews(loop: AbstractEventLoop, url: str, *, protected: bool) -> Callable[[int], object]:
    cashews = peers.load("cashews")
    cache = cashews.cache_on(loop, url, client_side=True)
    get = cashews.getter(cache, cashews.in_thread(work.body), protected=protected)
    return awaited(loop, lambda: get(work.ID))


def _resolve() -> Callable[[int], object]:
    resolver, context = work.resolver(), work.context()
    return repeated(lambda: resolver.resolve(context))


def _aresolve(loop: AbstractEventLoop) -> Callable[[int], object]:
    resolver, context = work.resolver(), work.context()
    return awaited(loop, lambda: resolver.aresolve(context))
