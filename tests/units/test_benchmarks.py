"""The benchmarks run; what they measure is for people to read, since machines are noisy."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from benchmarks import __main__ as command
from benchmarks import peers, report, work
from benchmarks.report import Report
from benchmarks.results import Bound, Result
from benchmarks.rounds import Sample, in_turn, interleaved, repeated
from benchmarks.scenarios import NAMES
from tests.support.documents import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SLOW, FAST = Sample((2.0, 20.0, 200.0)), Sample((1.0, 10.0, 100.0))


@pytest.fixture
def result() -> Result:
    return Result(
        title="Race",
        unit="µs",
        samples={"slow": SLOW, "fast": FAST},
        ours=("fast",),
        against="slow",
        bounds=(Bound("fast", 0.6, "slow"), Bound("fast", 0.4, "slow"), Bound("fast", 1, "gone")),
        missing=("gone (no gone)",),
    )


def test_rounds_are_interleaved() -> None:
    """A machine that slows down must slow all contenders, or the ratio is of two machines."""
    called: list[str] = []
    batches = {name: repeated(partial(called.append, name)) for name in "ab"}
    samples = interleaved(batches, rounds=2, calls=2)
    assert "".join(called) == "aabb" * 3
    assert len(samples["a"].rounds) == 2


def test_first_round_warms_up() -> None:
    """The first round is not counted, unless it is the only one."""
    assert in_turn({"a": lambda: 1}, rounds=2) == {"a": [1, 1]}
    assert in_turn({"a": iter([7, 8]).__next__}, rounds=1) == {"a": [8]}
    assert in_turn({"a": iter([7, 8]).__next__}, rounds=1, warm_up=False) == {"a": [7]}


def test_ratio_is_of_rounds() -> None:
    """Drift common to both cancels out, round by round."""
    assert (SLOW.ratio(FAST), SLOW.more(FAST)) == (2.0, 10.0)


@pytest.mark.parametrize(
    ("bound", "found", "holds"),
    [
        (Bound("fast", 0.5, "slow"), 0.5, True),
        (Bound("fast", 0.4, "slow"), 0.5, False),
        (Bound("slow", 9, "fast", how="more"), 10.0, False),
        (Bound("slow", 2, "fast", at_least=True), 2.0, True),
        (Bound("slow", 100), 200.0, False),
        (Bound("slow", 2, at_least=True), 2.0, True),
    ],
)
def test_bound(result: Result, bound: Bound, found: float, *, holds: bool) -> None:
    """A bound compares the median of a ratio or difference, and the worst round of a value."""
    assert bound.found(result.samples) == found
    assert bound.holds(found) is holds


def test_report_as_text(result: Result) -> None:
    """A bound whose contender is missing is neither met nor broken."""
    text = report.text(Report(machine={"Python": "3"}, results={"race": [result]}))
    assert "* Python: 3" in text
    assert "| Race | fast | ≤ 0.6 × slow | 0.50 | met |" in text
    assert "| Race | fast | ≤ 0.4 × slow | 0.50 | **not met** |" in text
    assert "| Race | fast | ≤ 1 × gone | – | not measured |" in text
    assert "| **fast** | 10 | 5.50 to 55 | 0.50 |" in text
    assert "Did not take part: gone (no gone)." in text


def test_report_goes_into_a_page(result: Result, tmp_path: Path) -> None:
    """Only the text between the markers changes, and writing twice gives the same page."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    for _ in range(2):
        report.write_into(page, Report(machine={}, results={"race": [result]}))
        written = page.read_text()
        assert written.startswith(f"before\n{report.BEGIN}\n")
        assert written.endswith(f"{report.END}\nafter\n")
        assert "old" not in written
        assert written.count("**Race**") == 1
    page.write_text("no markers")
    with pytest.raises(ValueError, match="markers"):
        report.write_into(page, Report(machine={}, results={}))


def test_page_takes_the_report() -> None:
    """``docs/explanation/performance.md`` has the markers, and names every scenario."""
    page = (ROOT / "docs" / "explanation" / "performance.md").read_text()
    assert page.index(report.BEGIN) < page.index(report.END)
    for name in NAMES:
        assert f"(`{name}`)" in page


def test_json_is_read_again(result: Result, tmp_path: Path) -> None:
    """The JSON has the rounds and their summaries, and can be read back."""
    path = tmp_path / "bench.json"
    whole = Report(machine={"Python": "3"}, results={"race": [result]})
    report.save(whole, path)
    assert report.load(path) == whole
    written = json.loads(path.read_text())["results"]["race"][0]
    assert written["summary"]["fast"]["ratio"] == 0.5
    assert [bound["met"] for bound in written["bounds"]] == [True, False, None]


def test_peer_that_is_not_installed() -> None:
    """A peer that is not installed is left out, and the others take part."""

    def make() -> int:
        raise ModuleNotFoundError(name="gone")

    assert peers.build_all({"a": lambda: 1, "b": make}) == ({"a": 1}, ("b (no gone)",))


def test_sizes_are_as_promised() -> None:
    """A document is as large as its table says."""
    assert 1_400 < len(work.body()) < 1_700
    for kilobytes in (1, 10, 100):
        assert len(work.body(kilobytes=kilobytes)) == pytest.approx(1024 * kilobytes, rel=0.08)


@pytest.mark.full
@pytest.mark.extras
def test_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Cheap scenarios run with the installed peers; then one more is added to their results."""
    path = tmp_path / "bench.json"
    assert command.main(["--quick", "--only", "near", "shared", "races", "--json", str(path)]) == 0
    assert "| **resolve()** |" in capsys.readouterr().out
    again = ["--again", str(path), "--only", "attach", "--quick", "--json", str(path)]
    assert command.main(again) == 0
    shown = capsys.readouterr().out
    assert "| **await aresolve()** |" in shown
    assert "| **ASGI with** |" in shown
    found = report.load(path)
    assert list(found.results) == ["near", "shared", "races", "attach"]
    assert found.quick


def test_scenario_without_redis() -> None:
    """The middleware is measured in any environment, and its two twins both."""
    module = [sys.executable, "-m", "benchmarks.scenario", "attach", "--quick"]
    done = subprocess.run(module, cwd=ROOT, capture_output=True, check=True, timeout=60)
    (attach,) = json.loads(done.stdout)
    assert set(attach["samples"]) == {"WSGI without", "WSGI with", "ASGI without", "ASGI with"}


def test_path_is_no_longer_than_it_was() -> None:
    """A lookup that passes more functions or files than these has to say why, in this table."""
    module = [sys.executable, "-m", "benchmarks.path", "--json"]
    done = subprocess.run(module, cwd=ROOT, capture_output=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    at_most = {
        "near": {"calls": 13, "files": 9, "returns": 0},
        # Each command for the cache passes "keyvalue". What a look means is a module of its own,
        # which asks whether a generation that was believed still is.
        "shared": {"calls": 34, "files": 21, "returns": 6},
        # A budget that is reserved, a generation that is written at take-off only, locks and
        # pools that notice a fork, a context that goes with each job; the look for a hit, which is
        # straight on and comes first; calls and writes that can be watched; blocks, of which one
        # may have been set while the service was asked. Parts of generations are read and written
        # in one place, which is another one where they have tags. Failures are counted by kinds,
        # which are few.
        "miss": {"calls": 264, "files": 43, "returns": 147},
        "stale": {"calls": 205, "files": 40, "returns": 100},
    }
    grown = [
        f"{kind}: {found[kind][what]} {what}, at most {bound}"
        for kind, bounds in at_most.items()
        for what, bound in bounds.items()
        if found[kind][what] > bound
    ]
    assert grown == []
