from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from instance_lookup.cache.stats import Counters
from instance_lookup.conf import build_settings
from instance_lookup.fetching.service_health import ServiceHealth
from instance_lookup.resilience.breaker import Breaker
from tests.support.monotonic import Monotonic


@pytest.fixture
def clock() -> Monotonic:
    return Monotonic()


@pytest.fixture
def breaker(clock: Monotonic) -> Breaker:
    return Breaker(failures=3, reset=10, probe=5, clock=clock)


@pytest.fixture
def half_open(breaker: Breaker, clock: Monotonic) -> Breaker:
    fail(breaker, 3)
    clock.now += 10
    return breaker


def fail(breaker: Breaker, things: int) -> None:
    for number in range(things):
        assert breaker.enter()
        breaker.failed(number)


def test_closed_until_failures_in_a_row(breaker: Breaker) -> None:
    """Fewer than ``failures`` do not open the breaker."""
    fail(breaker, 2)
    assert breaker.enter()
    assert breaker.wait() == 0.0


def test_success_begins_the_row_anew(breaker: Breaker) -> None:
    """A success starts the count of failures again."""
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.enter()


def test_open_for_reset_seconds(breaker: Breaker, clock: Monotonic) -> None:
    """After ``failures`` in a row no call is let through, for exactly ``reset`` seconds."""
    fail(breaker, 3)
    assert (breaker.enter(), breaker.wait()) == (False, 10.0)
    clock.now += 9.9
    assert not breaker.enter()
    clock.now += 0.2
    assert breaker.wait() == 0.0
    assert breaker.enter()


def test_half_open_lets_exactly_one_through(half_open: Breaker) -> None:
    """Of many callers exactly one is let through as the probe."""
    with ThreadPoolExecutor(20) as threads:
        entered = [threads.submit(half_open.enter) for _ in range(100)]
    assert sum(future.result() for future in entered) == 1


def test_probe_that_succeeds_closes(half_open: Breaker) -> None:
    """A probe that succeeds closes the breaker, and all calls are let through at once."""
    assert half_open.enter()
    half_open.succeeded()
    assert [half_open.enter() for _ in range(3)] == [True] * 3


def test_probe_that_succeeds_forgets_all_failures(half_open: Breaker) -> None:
    """After a successful probe the full number of failures is needed to open again."""
    assert half_open.enter()
    half_open.succeeded()
    fail(half_open, 2)
    assert half_open.enter()


def test_probe_that_fails_opens_again(half_open: Breaker, clock: Monotonic) -> None:
    """A failed probe opens the breaker for ``reset`` seconds, then one probe is let through."""
    assert half_open.enter()
    half_open.failed()
    assert half_open.wait() == 10.0
    clock.now += 10
    assert [half_open.enter(), half_open.enter()] == [True, False]


def test_probe_that_fails_early_does_not_wait_for_its_own_end(clock: Monotonic) -> None:
    """After a probe that fails early the breaker waits ``reset`` seconds from then."""
    breaker = Breaker(failures=1, reset=1, probe=5, clock=clock)
    fail(breaker, 1)
    clock.now += 1
    assert breaker.enter()
    breaker.failed()
    assert breaker.wait() == 1.0


def test_silent_probe_is_given_up(half_open: Breaker, clock: Monotonic) -> None:
    """A probe that never ends is given up, so that another one can start."""
    assert half_open.enter()
    clock.now += 4.9
    assert not half_open.enter()
    clock.now += 0.2
    assert [half_open.enter(), half_open.enter()] == [True, False]


def test_late_success_does_not_close(breaker: Breaker, clock: Monotonic) -> None:
    """A late success of an older call does not close the breaker, which would go on and off."""
    assert breaker.enter()
    fail(breaker, 3)
    breaker.succeeded()
    assert (breaker.enter(), breaker.wait()) == (False, 10.0)
    clock.now += 10
    breaker.succeeded()  # nor before there is a probe
    assert [breaker.enter(), breaker.enter()] == [True, False]


def test_late_success_between_two_probes_does_not_close(
    half_open: Breaker, clock: Monotonic
) -> None:
    """A late success between two probes does not close the breaker."""
    assert half_open.enter()
    half_open.failed()
    half_open.succeeded()
    assert half_open.wait() == 10.0


def test_probe_given_up_may_still_succeed(half_open: Breaker, clock: Monotonic) -> None:
    """A probe that took too long closes the breaker when it succeeds."""
    assert half_open.enter()
    clock.now += 5.1
    half_open.succeeded()
    assert [half_open.enter() for _ in range(3)] == [True] * 3


@pytest.mark.parametrize("timeout", [0.4, 5.0])
def test_probe_of_a_service_is_the_only_one(timeout: float) -> None:
    """No second probe starts before the first has passed its deadline and a moment more."""
    settings = build_settings({"config_service_timeout": timeout, "breaker_failures": 1})
    service = ServiceHealth(settings, Counters(), "The Config Service").breaker
    clock = Monotonic(service)
    fail(service, 1)
    clock.now += settings.breaker_reset
    assert service.enter()
    clock.now += timeout + 0.5
    assert not service.enter()


def test_late_failure_keeps_it_open(breaker: Breaker, clock: Monotonic) -> None:
    """A late failure of an older call keeps the breaker open."""
    fail(breaker, 3)
    clock.now += 8
    breaker.failed()
    assert breaker.wait() == 10.0


def test_one_thing_that_always_fails_does_not_open(breaker: Breaker) -> None:
    """An id that always fails does not open the breaker alone."""
    for _ in range(100):
        breaker.failed("poisoned")
    fail(breaker, 1)
    assert breaker.enter()
    breaker.failed("third")
    assert not breaker.enter()


def test_retry_after_for_one_thing_holds_for_no_other(breaker: Breaker) -> None:
    """Retry-After for one id does not stop calls for others."""
    for _ in range(10):
        breaker.failed("a", retry_after=60)
    assert breaker.enter()
    assert breaker.wait() == 0.0


def test_retry_after_for_two_things_holds_though_closed(breaker: Breaker, clock: Monotonic) -> None:
    """Retry-After for two ids holds for all ids, though the breaker is closed."""
    breaker.failed("a", retry_after=60)
    breaker.failed("b", retry_after=7)
    clock.now += 59.9
    assert not breaker.enter()
    clock.now += 0.2
    assert [breaker.enter(), breaker.enter()] == [True, True]


def test_retry_after_counts_from_the_last_success(breaker: Breaker) -> None:
    """A success in between ends the count of ids that asked for a pause."""
    breaker.failed("a", retry_after=60)
    breaker.succeeded()
    breaker.failed("b", retry_after=60)
    assert breaker.enter()


@pytest.mark.parametrize(("retry_after", "wait"), [(2, 10.0), (60, 60.0)])
def test_retry_after_of_an_open_breaker(breaker: Breaker, retry_after: int, wait: float) -> None:
    """An open breaker waits for the longer of ``reset`` and Retry-After."""
    fail(breaker, 1)
    breaker.failed("a", retry_after)
    breaker.failed("b", retry_after)
    assert breaker.wait() == wait


def test_retry_after_outlasts_what_else_comes_in(breaker: Breaker) -> None:
    """Answers of calls that were under way do not shorten a Retry-After."""
    breaker.failed("a", retry_after=60)
    breaker.failed("b", retry_after=1)
    breaker.failed("c")
    breaker.failed("d", retry_after=1)
    breaker.succeeded()
    assert breaker.wait() == 60.0


def test_success_without_failures_takes_no_lock(breaker: Breaker) -> None:
    """A success without failures before it takes no lock."""
    with breaker._lock:
        breaker.succeeded()
    assert breaker.enter()
