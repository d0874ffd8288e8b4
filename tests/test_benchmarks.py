"""The benchmarks run; what they measure is for people to read, since machines are noisy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from benchmarks import attach
from benchmarks.rounds import Timing, interleaved, table

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _unpinned() -> Iterator[None]:
    cores = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, cores)


def test_rounds_are_interleaved() -> None:
    """A machine that slows down must slow all contenders, or the ratio is of two machines."""
    called: list[str] = []
    contenders = {"a": lambda: called.append("a"), "b": lambda: called.append("b")}
    timings = interleaved(contenders, rounds=2, calls=2)
    assert "".join(called) == "aabb" * 3
    assert len(timings["a"].rounds) == 2


def test_ratio_is_of_rounds() -> None:
    """Drift common to both cancels out, round by round."""
    slow, fast = Timing("slow", (2.0, 20.0, 200.0)), Timing("fast", (1.0, 10.0, 100.0))
    assert slow.ratio(fast) == 2.0
    assert "| slow | 20.00 | 2.00 to 200.00 | 2.00 |" in table(
        {"slow": slow, "fast": fast}, against="fast"
    )


def test_attach_runs() -> None:
    """Both twins of the middleware are measured."""
    timings = attach.measure(rounds=2, calls=10)
    assert set(timings) == {"WSGI without", "WSGI with", "ASGI without", "ASGI with"}


@pytest.mark.extras
def test_shared_hit_runs() -> None:
    """The floor and ``resolve()`` are asserted to find the same config from one call."""
    from benchmarks import shared_hit

    assert "resolve()" in shared_hit.measure(rounds=2, calls=10)
