"""The last hour as pictures: what to draw and where. A template makes SVG of it. All pure.

No colour, style or script is in it: shapes and patterns tell the series apart, the site's style
sheet paints them, and a table says the same in numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from instance_lookup.operations.stored import Minute

WIDTH, HEIGHT = 360, 132
LEFT, RIGHT, TOP, BOTTOM = 40, 352, 10, 108
"""Where the plot is, in units of the picture."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of the bar of one minute."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Dot:
    """A value of one minute."""

    kind: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Line:
    """Values of minutes that follow each other."""

    kind: str
    points: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark at the side, and a line across."""

    y: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A picture of the last hour."""

    title: str
    summary: str
    """What it shows, in words, for those who do not see it."""
    legend: tuple[tuple[str, str], ...]
    """Kind and label of each series."""
    ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...] = ()
    lines: tuple[Line, ...] = ()
    dots: tuple[Dot, ...] = field(default=())


def charts(minutes: Sequence[Minute]) -> list[Chart]:
    """Return the charts of the last hour; ``minutes`` are its minutes, the oldest first."""
    return [_lookups(minutes), _latency(minutes), _calls(minutes)]


def _lookups(minutes: Sequence[Minute]) -> Chart:
    legend = (
        ("near", "from memory"),
        ("fresh", "fresh copy"),
        ("stale", "stale copy"),
        ("negative", "does not exist"),
        ("missed", "not cached"),
    )
    values = [
        [each.near, each.fresh - each.near, each.stale, each.negative, each.missed]
        for each in minutes
    ]
    totals = [sum(column) for column in zip(*values, strict=True)] or [0] * len(legend)
    told = ", ".join(f"{total} {label}" for total, (_, label) in zip(totals, legend, strict=True))
    top = _round_up(max(map(sum, values), default=0))
    return Chart(
        title="Lookups a minute, by source",
        summary=f"Lookups of the last hour: {told}.",
        legend=legend,
        ticks=_ticks(top, f"{top:g}"),
        bars=tuple(_stacked([kind for kind, _ in legend], values, top)),
    )


def _calls(minutes: Sequence[Minute]) -> Chart:
    legend = (("failed", "failed"), ("answered", "answered"))
    values = [[minute.failures, minute.calls - minute.failures] for minute in minutes]
    top = _round_up(max(map(sum, values), default=0))
    failed, calls = sum(each.failures for each in minutes), sum(each.calls for each in minutes)
    return Chart(
        title="Calls of the Config Service a minute",
        summary=f"Calls of the last hour: {calls}, of which {failed} failed.",
        legend=legend,
        ticks=_ticks(top, f"{top:g}"),
        bars=tuple(_stacked([kind for kind, _ in legend], values, top)),
    )


def _latency(minutes: Sequence[Minute]) -> Chart:
    legend = (("p95", "p95"), ("p50", "p50"))
    values = {
        "p50": [minute.quantile(0.5) for minute in minutes],
        "p95": [minute.quantile(0.95) for minute in minutes],
    }
    slowest = max((one for one in values["p95"] if one is not None), default=0.0)
    top = _round_up(slowest)
    dots = [
        Dot(kind, _x(index, len(minutes)), _y(value, top))
        for kind, series in values.items()
        for index, value in enumerate(series)
        if value is not None
    ]
    return Chart(
        title="Latency of the Config Service",
        summary=f"Latency of the last hour: the highest p95 of a minute is {seconds(slowest)}.",
        legend=legend,
        ticks=_ticks(top, seconds(top)),
        lines=tuple(line for kind, series in values.items() for line in _lines(kind, series, top)),
        dots=tuple(dots),
    )


def seconds(value: float | None) -> str:
    """Return a latency as text."""
    if value is None:
        return "-"
    return f"{value:.2g} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _stacked(kinds: Sequence[str], values: Sequence[Sequence[int]], top: float) -> list[Bar]:
    step = (RIGHT - LEFT) / max(1, len(values))
    bars = []
    for index, parts in enumerate(values):
        below = 0
        for kind, part in zip(kinds, parts, strict=True):
            if part:
                y = _y(below + part, top)
                height = round(_y(below, top) - y, 1)
                bars.append(Bar(kind, round(LEFT + index * step, 1), y, round(step - 1, 1), height))
            below += part
    return bars


def _lines(kind: str, values: Sequence[float | None], top: float) -> list[Line]:
    """Return a line for each run of minutes that have a value."""
    runs: list[list[str]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{_x(index, len(values))},{_y(value, top)}")
    return [Line(kind, " ".join(run)) for run in runs if len(run) > 1]


def _x(index: int, count: int) -> float:
    step = (RIGHT - LEFT) / count
    return round(LEFT + (index + 0.5) * step, 1)


def _y(value: float, top: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * value / top, 1)


def _ticks(top: float, label: str) -> tuple[Tick, ...]:
    return Tick(_y(top, top), label), Tick(_y(0, top), "0")


def _round_up(value: float) -> float:
    """Return 1, 2 or 5 with as many zeros as it takes to be at least ``value``."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))
