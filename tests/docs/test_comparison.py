"""docs/explanation/comparison.md: its figures are those that were measured."""

from __future__ import annotations

import re

import pytest

from tests.support.documents import PAGES, table

PERFORMANCE = PAGES["performance.md"].read_text(encoding="utf-8")
OURS = "**resolve()**"
ROWS = [
    (
        "Calls of the service: 1 × 40 cold callers",
        (["naive"], ["dogpile distributed lock"], ["cashews"], [OURS]),
    ),
    (
        "Calls of the service: 6 × 4 cold callers",
        (["naive"], ["dogpile distributed lock"], ["cashews", "cashews lock"], [OURS]),
    ),
    (
        "Service down, 20 reads of a stale entry: reads that were answered",
        (["naive, with a stale copy"], ["dogpile"], ["cashews failover"], [OURS]),
    ),
    (
        "Service down, 20 reads of a stale entry: calls of the service",
        (["naive, with a stale copy"], ["dogpile"], ["cashews failover"], [OURS]),
    ),
    (
        "Invalidated during a fetch, 1,000 races: served again",
        (["naive"], ["dogpile"], ["cashews, client side"], [OURS]),
    ),
]
"""The tables of performance.md, and whose medians are in the cells of a row here."""
WITHOUT_FIGURES = ["a hit asks whether this user may have it"]
"""What the rows after them are about."""


def medians(title: str) -> dict[str, int]:
    """Return the medians of a table of performance.md, by their contender."""
    rows = PERFORMANCE.partition(f"**{title}**\n")[2].partition("\n\n**")[0]
    return {
        name: int(median)
        for name, median in re.findall(r"^\| (.+?) \| (\d+) \|", rows, re.MULTILINE)
    }


def test_each_row_with_figures_is_measured() -> None:
    """A row that is added to the page has to say where its figures are from."""
    rows = table("comparison.md", "Figure")
    assert [row[0] for row in rows[len(ROWS) :]] == WITHOUT_FIGURES


@pytest.mark.parametrize("place", range(len(ROWS)), ids=lambda place: ROWS[place][0])
def test_figures_are_those_measured(place: int) -> None:
    """Where a benchmark is run again, the page says what came of it."""
    title, contenders = ROWS[place]
    cells = table("comparison.md", "Figure")[place][1:]
    shown = [[int(n) for n in re.findall(r"\d+", cell.replace(",", ""))] for cell in cells]
    found = medians(title)
    assert shown == [[found[name] for name in names] for names in contenders]
