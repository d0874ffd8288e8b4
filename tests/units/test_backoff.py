"""What failed is left alone, longer each time, and nothing else is."""

from __future__ import annotations

import pytest

from instance_lookup.resilience.backoff import Backoff
from tests.support.monotonic import Monotonic


@pytest.fixture
def clock() -> Monotonic:
    return Monotonic()


@pytest.fixture
def backoff(clock: Monotonic) -> Backoff:
    return Backoff(30, clock=clock)


def test_pauses_double_up_to_the_longest(backoff: Backoff, clock: Monotonic) -> None:
    """A blip costs a second; what fails for long is asked as seldom as anything."""
    pauses = []
    for _ in range(7):
        pauses.append(backoff.failed("acme"))
        assert backoff.pause("acme") == pauses[-1]
        clock.now += pauses[-1]
        assert backoff.pause("acme") == 0
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_pause_is_never_longer_than_the_longest(clock: Monotonic) -> None:
    """Also where that is less than a second."""
    assert Backoff(0.2, clock=clock).failed("acme") == 0.2


def test_pause_that_was_asked_for(backoff: Backoff, clock: Monotonic) -> None:
    """What the service asks for holds if it is more."""
    assert backoff.failed("acme", at_least=60) == 60
    clock.now += 59
    assert (backoff.pause("acme"), backoff.rests("acme")) == (1, True)
    assert backoff.failed("beta", at_least=0.5) == 1


def test_failures_at_one_time_count_once(backoff: Backoff) -> None:
    """They were under way together: it is one failure."""
    assert [backoff.failed("acme") for _ in range(5)] == [1] * 5


def test_failures_are_forgotten(backoff: Backoff, clock: Monotonic) -> None:
    """After a while without any, the next one is a first one."""
    for _ in range(5):
        clock.now += backoff.failed("acme")
    clock.now += 60
    assert backoff.failed("acme") == 1


def test_success_forgets(backoff: Backoff, clock: Monotonic) -> None:
    """The next failure is a first one."""
    clock.now += backoff.failed("acme")
    backoff.failed("acme")
    backoff.drop("acme")
    assert (backoff.pause("acme"), backoff.rests("acme")) == (0, False)
    assert backoff.failed("acme") == 1


def test_rest_is_the_longest_from_the_first_failure_on(backoff: Backoff, clock: Monotonic) -> None:
    """Callers who have a copy lose nothing by it."""
    backoff.failed("acme")
    clock.now += 29
    assert backoff.rests("acme")
    clock.now += 1
    assert not backoff.rests("acme")


def test_others_are_asked(backoff: Backoff) -> None:
    """Each is left alone for itself."""
    backoff.failed("acme")
    assert (backoff.pause("beta"), backoff.rests("beta")) == (0, False)
