"""The simulator of a fleet follows the rules of the package, and a real fleet does as it says."""

from __future__ import annotations

import re
import sys
from math import exp
from random import Random

import pytest
from msgspec.structs import replace

from benchmarks.capacity.__main__ import main
from benchmarks.capacity.fleet import Fleet
from benchmarks.capacity.phases import COLD, INVALIDATED, STEADY, WARMED, Phase
from benchmarks.capacity.plan import Plan
from benchmarks.capacity.sizes import Sizes
from benchmarks.capacity.tally import Tally, total
from instance_lookup.conf import Settings
from tests.support.documents import blocks, table

SMALL = Plan(instances=200, rps=100, processes=4, ttl=20, near_ttl=2, service_time=0.02)
ONE = replace(SMALL, instances=1)
"""All requests name one instance."""
_HEAD = (
    "calls a second | from memory (near) | after a wait for the service | commands a second"
    " | MB a second, from Redis"
)


def fleet(plan: Plan, *, filled: bool = True) -> Fleet:
    found = Fleet(plan, Random(plan.seed))
    if filled:
        found.fill()
    return found


def ran(plan: Plan, seconds: int, *, filled: bool = True) -> Tally:
    return total(fleet(plan, filled=filled).run(seconds))


def test_defaults_are_those_of_the_package() -> None:
    """A plan that names no setting is of a site that sets none."""
    plan, settings = Plan(), Settings()
    assert plan.ttl == settings.cache_ttl
    assert plan.stale_max_age == settings.stale_max_age
    assert plan.near_ttl == settings.near_cache_ttl
    assert plan.refresh_ahead == settings.refresh_ahead


def test_steady_calls() -> None:
    """An instance is fetched once in 0.9 of a ttl and the wait for a request that follows it."""
    expected = sum(rate / (1 + 0.9 * SMALL.ttl * rate) for rate in SMALL.rates)
    assert ran(SMALL, 200).calls / 200 == pytest.approx(expected, rel=0.04)


def test_filled_fleet_is_in_its_steady_state() -> None:
    """What ``fill`` begins with is what a cold fleet comes to."""
    cold = fleet(SMALL, filled=False)
    cold.run(100)
    settled = fleet(SMALL)
    settled.run(5)
    one, other = total(cold.run(150)), total(settled.run(150))
    for name in ("calls", "near", "shared", "waited"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=0.07), name


def test_cold_second() -> None:
    """In the first second each instance that is named costs one call."""
    expected = sum(1 - exp(-rate) for rate in SMALL.rates)
    calls = [ran(replace(SMALL, seed=seed), 1, filled=False).calls for seed in range(40)]
    assert sum(calls) / 40 == pytest.approx(expected, rel=0.05)


def test_each_request_is_answered_once() -> None:
    """What answered the requests adds up to all of them."""
    found = ran(replace(SMALL, missing=0.1), 50, filled=False)
    assert found.requests == found.near + found.shared + found.waited + found.stale


def test_lease_makes_one_call_of_many() -> None:
    """Processes that miss the same instance at once make one call, and wait for it."""
    crowd = replace(ONE, rps=5000, processes=50, service_time=0.1)
    (second,) = fleet(crowd, filled=False).run(1)
    assert second.calls == 1
    assert second.followed == 49
    assert second.waited == 1 + second.joined + second.followed


def test_popular_instance_is_refreshed_before_a_request_waits() -> None:
    """With refresh ahead no request waits for what is asked for all the time; else some do."""
    assert ran(ONE, 100).waited == 0
    assert ran(replace(ONE, refresh_ahead=None), 100).waited > 0


def test_slow_service_means_stale_copies() -> None:
    """Requests that have a copy wait for SOFT_TIMEOUT at most."""
    slow = replace(ONE, refresh_ahead=None, service_time=1.0)
    assert ran(slow, 100).stale > ran(replace(slow, service_time=0.1), 100).stale


def test_no_near_cache() -> None:
    """Without a near cache each request reads Redis."""
    found = ran(replace(SMALL, near_size=0), 20)
    assert found.near == 0
    assert found.reads >= found.requests


def test_small_near_cache_holds_less() -> None:
    """What was used least recently makes room, so a small near cache answers less."""
    assert ran(replace(SMALL, near_size=5), 50).near < 0.8 * ran(SMALL, 50).near


def test_invalidation_is_as_cold_as_a_start() -> None:
    """After ``invalidate_all`` each instance that is named costs a call again."""
    start, invalidated = fleet(SMALL, filled=False), fleet(SMALL)
    invalidated.run(5)
    invalidated.invalidate_all()
    cold, again = total(start.run(5)), total(invalidated.run(5))
    assert again.calls == pytest.approx(cold.calls, rel=0.15)
    assert again.found > cold.found  # Redis sends what no longer counts all the same


def test_unknown_ids() -> None:
    """An id that does not exist is asked for once in NEGATIVE_TTL, and all processes are told."""
    plan = replace(SMALL, missing=0.5, missing_ids=10, negative_ttl=5)
    found = ran(plan, 100)
    expected = sum(rate / (1 + 5 * rate) for rate in plan.rates[plan.instances :])
    assert found.publishes / 100 == pytest.approx(expected, rel=0.1)


def test_warming_lets_no_request_wait() -> None:
    """A command that fetches all makes its calls, and requests wait no more than before."""
    warmed = total(fleet(SMALL).run(10, warm_rate=50))
    assert warmed.calls >= SMALL.instances
    assert warmed.waited <= ran(SMALL, 10).waited


def test_end_of_a_cold_start() -> None:
    """It is over when there are no more calls than usual, or it is not known."""
    phase = Phase([Tally(calls=calls) for calls in (9, 5, 2, 1)], entries=0)
    assert phase.until(2) == 2
    assert phase.calls_in(2) == 14
    assert phase.until(0.5) is None


def test_bytes_of_an_entry() -> None:
    """An answer with an entry is as long as the entry, its key is not counted for it."""
    sizes = Sizes(SMALL)
    assert SMALL.document < sizes.entry < SMALL.document + 250
    with_it, without = Tally(reads=1, found=1), Tally(reads=1)
    longer = sizes.answered(with_it, 0) - sizes.answered(without, 0)
    assert longer == pytest.approx(sizes.entry, abs=10)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--rps", "fast"], "--rps: must be a number from 0 on, not 'fast'"),
        (["--rps", "0"], "--rps: must be more than 0, not '0'"),
        (["--instances", "-5"], "--instances: must be a whole number from 1 on, not '-5'"),
        (["--ttl", "inf"], "--ttl: must be a number from 0 on, not 'inf'"),
        (["--missing", "1"], "--missing: must be from 0 to below 1, not '1'"),
        (["--refresh-ahead", "2"], '--refresh-ahead: must be "off", or above 0 and up to 1'),
        (["--stale-max-age", "3"], "--stale-max-age is 3, less than --ttl (300)"),
        (["--service-time", "2.5"], "--service-time is 2.5. It must be below 2.5, half of"),
        (["--rps=9", "--check"], "--check has a plan of its own, and takes no --rps"),
    ],
)
def test_bad_value(capsys: pytest.CaptureFixture[str], given: list[str], said: str) -> None:
    """A value that makes no sense is named, with what it may be."""
    with pytest.raises(SystemExit) as caught:
        main(given)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_same_seed_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """The output follows from the options alone."""
    command = [
        "--instances",
        "100",
        "--rps",
        "50",
        "--processes",
        "3",
        "--ttl",
        "5",
        "--refresh-ahead",
        "off",
    ]
    said = []
    for seed in ("7", "7", "8"):
        assert main([*command, "--seed", seed]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert said[0] != said[2]


@pytest.mark.full
def test_page_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """The example of docs/explanation/capacity.md is the output of its command."""
    example = next(block for block in blocks("capacity.md") if block.language == "console")
    command, _, shown = example.text.partition("\n")
    options = command.removeprefix("$ python -m benchmarks.capacity ")
    assert main(options.split()) == 0
    assert capsys.readouterr().out.rstrip() == shown.rstrip()


@pytest.mark.full
def test_page_shows_what_one_option_changes(capsys: pytest.CaptureFixture[str]) -> None:
    """The table of docs/explanation/capacity.md has the steady state of each of its options."""
    labels = _HEAD.split(" | ")
    for option, *shown in table("capacity.md", f"option | {_HEAD}"):
        assert main(["--window", "60", *option.strip("`").split()]) == 0
        rows = [re.split(r"\s{2,}", line) for line in capsys.readouterr().out.splitlines()]
        steady = {row[1]: row[3] for row in rows if len(row) == 6}
        assert [steady[label] for label in labels] == shown, option


@pytest.mark.extras
@pytest.mark.parametrize(
    ("failed", "ratio", "passes"), [({}, 1.1, True), ({}, 1.2, False), ({"Error()": 1}, 1.0, False)]
)
def test_verdict_of_the_check(failed: dict[str, int], ratio: float, passes: bool) -> None:
    """It passes where no request failed, and the numbers are close."""
    from benchmarks.capacity import check
    from benchmarks.capacity.worker import Answered

    answered = Answered(
        requests=1, near=0, shared=0, waited=0, stale=0, failed=failed, late=0, calls=0,
        service_seconds=0,
    )  # fmt: skip
    measured = check.Measured([answered], calls=[], commands={}, sent=0, received=0)
    line = check.Line(STEADY, "GET", simulated=1000, measured=1000 * ratio)
    assert check.passes({STEADY: measured}, [line]) is passes


@pytest.mark.extras
@pytest.mark.parametrize(("does", "status"), [("sys.exit(3)", 3), ("sys.stdin.read()", -9)])
def test_worker_that_does_not_answer(does: str, status: int) -> None:
    """One that has ended, and one that hangs, are named; the check does not wait for ever."""
    from benchmarks.capacity import check

    command = [sys.executable, "-S", "-c", f"import sys; {does}"]
    with (
        check._worker(command) as worker,
        pytest.raises(check.WorkerError, match=f"ended with status {status}, before"),
    ):
        check._heard(worker, 1.0)


@pytest.mark.full
@pytest.mark.extras
def test_real_fleet_does_as_simulated() -> None:
    """Calls, commands and hits of eight real processes are those of the simulator."""
    from benchmarks.capacity import check

    plan = check.plan_of(4)
    measured = check.measure(plan)
    assert [phase.failed for phase in measured.values() if phase.failed] == []
    lines = [line for line in check.compared(plan, measured) if line.counts]
    # Wider than the check itself, and of large numbers only: this run is short, and other tests run
    # on the same machine.
    lines = [line for line in lines if line.simulated >= 2 * check.LEAST]
    assert {line.phase for line in lines} == {COLD, STEADY, INVALIDATED, WARMED}
    apart = [line for line in lines if not 0.7 < line.ratio < 1.3]
    assert apart == []
