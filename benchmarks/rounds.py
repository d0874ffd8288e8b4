"""Rounds of several contenders in turn, so that a machine that slows down slows all of them."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Timing:
    """Microseconds per call: what the rounds of one contender took."""

    name: str
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.rounds)

    @property
    def quartiles(self) -> tuple[float, float]:
        low, _, high = quantiles(self.rounds, n=4)
        return low, high

    def ratio(self, other: Timing) -> float:
        """Return the median of the ratios, round by round: what drifts, drifts out of it."""
        return median(a / b for a, b in zip(self.rounds, other.rounds, strict=True))


def interleaved(
    contenders: Mapping[str, Callable[[], object]], *, rounds: int, calls: int
) -> dict[str, Timing]:
    """Time ``calls`` calls of each contender in each of ``rounds`` rounds, after one to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            gc.collect()
            begun = perf_counter_ns()
            for _ in range(calls):
                contender()
            if number:
                taken[name].append((perf_counter_ns() - begun) / calls / 1_000)
    return {name: Timing(name, tuple(each)) for name, each in taken.items()}


def table(timings: Mapping[str, Timing], *, against: str) -> str:
    """Return the timings as a table of Markdown, each with its ratio to one of them."""
    lines = [
        f"| | median µs | quartiles µs | ratio to {against} |",
        "|---|---:|---:|---:|",
    ]
    for name, timing in timings.items():
        low, high = timing.quartiles
        ratio = timing.ratio(timings[against])
        lines.append(f"| {name} | {timing.median:.2f} | {low:.2f} to {high:.2f} | {ratio:.2f} |")
    return "\n".join(lines)
