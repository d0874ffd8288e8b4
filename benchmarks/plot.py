"""All results as one picture. The one module that needs matplotlib."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.report import Report
    from benchmarks.results import Result

COLUMNS = 2
OURS, PEERS = "#1f6f8b", "#b9bec4"


def draw(report: Report, path: Path) -> None:
    """Draw the medians as bars, with their quartiles; ours stand out."""
    results = list(chain.from_iterable(report.results.values()))
    rows = -(-len(results) // COLUMNS)
    heights = [
        max(len(result.samples) for result in results[row * COLUMNS : (row + 1) * COLUMNS]) + 2.5
        for row in range(rows)
    ]
    figure, axes = plt.subplots(
        rows,
        COLUMNS,
        figsize=(14, 0.32 * sum(heights)),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
        layout="constrained",
    )
    flat = list(axes.flat)
    for axis, result in zip(flat, results, strict=False):
        _bars(axis, result)
    for axis in flat[len(results) :]:
        axis.set_visible(False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _bars(axis: Any, result: Result) -> None:
    names = list(result.samples)
    medians = [sample.median for sample in result.samples.values()]
    quartiles = [sample.quartiles for sample in result.samples.values()]
    spread = [
        [max(0, median - low) for median, (low, _) in zip(medians, quartiles, strict=True)],
        [max(0, high - median) for median, (_, high) in zip(medians, quartiles, strict=True)],
    ]
    colours = [OURS if name in result.ours else PEERS for name in names]
    axis.barh(names, medians, xerr=spread, color=colours, ecolor="#444444", height=0.7)
    axis.invert_yaxis()
    # Where one takes a hundred times as long as another, a linear axis shows the one only.
    if min(medians) > 0 and max(medians) > 20 * min(medians):
        axis.set_xscale("log")
    axis.set_title(f"{result.title} [{result.unit}]", fontsize=9, loc="left", wrap=True)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    for position, median in enumerate(medians):
        axis.annotate(
            f" {median:,.3g}" if median < 1000 else f" {median:,.0f}",
            (median, position),
            va="bottom",
            fontsize=7,
        )
