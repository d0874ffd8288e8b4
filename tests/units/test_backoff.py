"""An id that goes on failing rests, and no other id does."""

from __future__ import annotations

import pytest

from instance_lookup.resilience.backoff import Backoff, Pauses
from tests.support.monotonic import Monotonic


@pytest.fixture
def clock() -> Monotonic:
    return Monotonic()


@pytest.fixture
def backoff(clock: Monotonic) -> Backoff:
    return Backoff(rest=30, failures=3, reset=10, clock=clock)


def test_pause_begins_when_it_goes_on_failing(backoff: Backoff, clock: Monotonic) -> None:
    """The first failures cause no pause; each later one does."""
    pauses = []
    for _ in range(5):
        backoff.failed("acme")
        pauses.append(backoff.pause("acme"))
        clock.now += pauses[-1]
        assert backoff.pause("acme") == 0
    assert pauses == [0, 0, 10, 10, 10]


def test_pause_that_was_asked_for(backoff: Backoff, clock: Monotonic) -> None:
    """A pause that the service asks for holds from the first failure on, if it is longer."""
    backoff.failed("acme", at_least=20)
    assert (backoff.pause("acme"), backoff.rests("acme")) == (20, True)
    clock.now += 19
    assert backoff.pause("acme") == 1
    backoff.failed("acme", at_least=5)
    assert backoff.pause("acme") == 5
    backoff.failed("acme", at_least=5)
    assert backoff.pause("acme") == 10


def test_failures_are_forgotten(backoff: Backoff, clock: Monotonic) -> None:
    """After some time without a failure the next one counts as the first."""
    backoff.failed("acme")
    backoff.failed("acme")
    clock.now += 60
    backoff.failed("acme")
    assert backoff.pause("acme") == 0


def test_pause_longer_than_the_rest(clock: Monotonic) -> None:
    """A failure right after a long pause counts as the next one in the row."""
    backoff = Backoff(rest=1, failures=2, reset=100, clock=clock)
    for _ in range(2):
        backoff.failed("acme")
    clock.now += 100
    backoff.failed("acme")
    assert backoff.pause("acme") == 100


def test_success_forgets(backoff: Backoff) -> None:
    """After a success the next failure counts as the first."""
    for _ in range(3):
        backoff.failed("acme")
    backoff.drop("acme")
    assert (backoff.pause("acme"), backoff.rests("acme")) == (0, False)
    backoff.failed("acme")
    assert backoff.pause("acme") == 0


def test_rest_begins_with_the_first_failure(backoff: Backoff, clock: Monotonic) -> None:
    """With a copy an id rests from the first failure on."""
    backoff.failed("acme")
    clock.now += 29
    assert backoff.rests("acme")
    clock.now += 1
    assert not backoff.rests("acme")


def test_others_are_asked(backoff: Backoff) -> None:
    """A failure of one id does not pause another."""
    for _ in range(3):
        backoff.failed("acme")
    assert (backoff.pause("beta"), backoff.rests("beta")) == (0, False)


def test_pauses() -> None:
    """Each pause is twice the last one, up to the longest, and never less than half of it."""
    pauses = Pauses(1.0, 10.0)
    for most in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0):
        assert most / 2 <= pauses.next() <= most
    pauses.start_over()
    assert pauses.next() <= 1.0


def test_pauses_differ() -> None:
    """Clients that failed together do not come back together."""
    assert len({Pauses(1.0, 10.0).next() for _ in range(20)}) > 10


def test_pauses_without_end() -> None:
    """However often it fails, the pause is a number of seconds."""
    pauses = Pauses(1.0, 10.0)
    assert max(pauses.next() for _ in range(2000)) <= 10.0
