"""All results of a run: as JSON, as tables of Markdown, and written into a page."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from benchmarks.results import Bound, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


class Report(Struct, kw_only=True):
    """The machine, and the results of all scenarios that ran on it."""

    machine: dict[str, str]
    quick: bool = False
    results: dict[str, list[Result]]
    """By scenario."""


def load(path: Path) -> Report:
    """Return the report that ``save`` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=Report)


def save(report: Report, path: Path) -> None:
    """Write everything as JSON, with the summaries that follow from the rounds."""
    plain: dict[str, Any] = msgspec.to_builtins(report)
    for name, results in report.results.items():
        for written, result in zip(plain["results"][name], results, strict=True):
            written["summary"] = {who: _summary(result, who) for who in result.samples}
            written["bounds"] = [
                {**msgspec.to_builtins(bound), **_verdict(bound, result)} for bound in result.bounds
            ]
    path.write_bytes(msgspec.json.format(msgspec.json.encode(plain)) + b"\n")


def text(report: Report) -> str:
    """Return the report as Markdown: machine, bounds, and a table for each result."""
    parts = [_machine(report), _bounds(chain.from_iterable(report.results.values()))]
    parts += [table(result) for result in chain.from_iterable(report.results.values())]
    return "\n\n".join(filter(None, parts))


def write_into(page: Path, report: Report) -> None:
    """Replace what is between the markers of a page. Raise ``ValueError`` where there are none."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the markers {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text(report)}\n\n{END}{after}", encoding="utf-8")


def table(result: Result) -> str:
    """Return one result as Markdown, with each contender's ratio to one of them."""
    ratio = f" ratio to {result.against} |" if result.against in result.samples else ""
    lines = [
        f"**{result.title}**",
        "",
        f"| | median {result.unit} | quartiles |{ratio}",
        f"|---|---:|---:|{'---:|' if ratio else ''}",
        *(_line(result, who, with_ratio=bool(ratio)) for who in result.samples),
    ]
    about = [f"Placement: {result.placement}."] if result.placement else []
    about += result.notes
    if result.missing:
        about.append(f"Did not take part: {', '.join(result.missing)}.")
    return "\n".join([*lines, "", "\n\n".join(about)]).rstrip()


def _line(result: Result, who: str, *, with_ratio: bool) -> str:
    found = _summary(result, who)
    name = f"**{who}**" if who in result.ours else who
    low, high = found["quartiles"]
    spread = "" if low == high else f"{_number(low)} to {_number(high)}"
    cells = [name, _number(found["median"]), spread]
    if with_ratio:
        cells.append(_number(found["ratio"]))
    return f"| {' | '.join(cells)} |"


def _summary(result: Result, who: str) -> dict[str, Any]:
    sample = result.samples[who]
    found: dict[str, Any] = {"median": sample.median, "quartiles": sample.quartiles}
    if other := result.samples.get(result.against or ""):
        found["ratio"] = sample.ratio(other)
    return found


def _machine(report: Report) -> str:
    known = "\n".join(f"* {name}: {value}" for name, value in report.machine.items())
    hasty = "A quick run: it shows that everything works, and its times mean nothing.\n\n"
    return (hasty if report.quick else "") + known


def _bounds(results: Iterable[Result]) -> str:
    rows = list(chain.from_iterable(map(_bound_rows, results)))
    if not rows:
        return ""
    head = ["| what | who | must be | is | |", "|---|---|---|---:|---|"]
    return "\n".join([*head, *rows])


def _bound_rows(result: Result) -> Iterator[str]:
    for bound in result.bounds:
        verdict = _verdict(bound, result)
        is_now = "–" if verdict["found"] is None else _number(verdict["found"])
        met = {True: "met", False: "**not met**", None: "not measured"}[verdict["met"]]
        yield f"| {result.title} | {bound.of} | {bound.text} | {is_now} | {met} |"


def _verdict(bound: Bound, result: Result) -> dict[str, Any]:
    found = bound.found(result.samples)
    return {"found": found, "met": None if found is None else bound.holds(found)}


def _number(value: float) -> str:
    """Return a number with as many digits as it is good for."""
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value)}"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}"
