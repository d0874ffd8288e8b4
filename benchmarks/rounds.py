"""Rounds of several contenders in turn, so that a machine that slows down slows all of them."""

from __future__ import annotations

import asyncio
import gc
from statistics import median, quantiles
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable, Mapping

T = TypeVar("T")


class Sample(Struct, frozen=True):
    """The measurements of one contender, one for each round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.rounds)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.rounds) == 1:
            return self.rounds[0], self.rounds[0]
        low, _, high = quantiles(self.rounds, n=4, method="inclusive")
        return low, high

    def ratio(self, other: Sample) -> float:
        """Return the median of the ratios, round by round: what drifts, drifts out of it."""
        return median(a / b for a, b in zip(self.rounds, other.rounds, strict=True))

    def more(self, other: Sample) -> float:
        """Return the median of the differences, round by round."""
        return median(a - b for a, b in zip(self.rounds, other.rounds, strict=True))


def in_turn(
    contenders: Mapping[str, Callable[[], T]], *, rounds: int, warm_up: bool = True
) -> dict[str, list[T]]:
    """Return what each contender gave in each of ``rounds`` rounds, after one to warm up."""
    given: dict[str, list[T]] = {name: [] for name in contenders}
    for number in range(-1 if warm_up else 0, rounds):
        for name, contender in contenders.items():
            gc.collect()
            value = contender()
            if number >= 0:
                given[name].append(value)
    return given


def interleaved(
    batches: Mapping[str, Callable[[int], object]], *, rounds: int, calls: int
) -> dict[str, Sample]:
    """Return the microseconds per call of each contender: a batch is told how many to make."""

    def timed(batch: Callable[[int], object]) -> Callable[[], float]:
        def run() -> float:
            begun = perf_counter_ns()
            batch(calls)
            return (perf_counter_ns() - begun) / calls / 1_000

        return run

    taken = in_turn({name: timed(batch) for name, batch in batches.items()}, rounds=rounds)
    return sampled(taken)


def sampled(taken: Mapping[str, list[float]]) -> dict[str, Sample]:
    """Return a sample of each contender's rounds."""
    return {name: Sample(tuple(each)) for name, each in taken.items()}


def repeated(call: Callable[[], object]) -> Callable[[int], object]:
    """Return a batch of calls one after the other."""

    def batch(calls: int) -> None:
        for _ in range(calls):
            call()

    return batch


def awaited(loop: AbstractEventLoop, call: Callable[[], Awaitable[Any]]) -> Callable[[int], object]:
    """Return a batch of calls one after the other, in a loop that is entered once for all."""

    async def batch(calls: int) -> None:
        for _ in range(calls):
            await call()

    return lambda calls: loop.run_until_complete(batch(calls))


def gathered(
    loop: AbstractEventLoop, call: Callable[[], Awaitable[Any]], *, at_once: int
) -> Callable[[int], object]:
    """Return a batch of calls of which so many are under way together."""

    async def batch(calls: int) -> None:
        for _ in range(calls // at_once):
            await asyncio.gather(*(call() for _ in range(at_once)))

    return lambda calls: loop.run_until_complete(batch(calls))
