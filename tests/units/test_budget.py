"""A user that asks for many unknown ids is held up, and no other user is."""

from __future__ import annotations

import threading

import pytest

from instance_lookup.resilience.budget import _LIMIT, MissBudget
from tests.support.monotonic import Monotonic


@pytest.fixture
def clock() -> Monotonic:
    return Monotonic()


def spent(budget: MissBudget, who: str = "olga", limit: int = 1_000) -> int:
    """Spend the whole budget, and return how much it was."""
    for misses in range(limit):
        if budget.wait(who):
            return misses
        budget.spend(who)
    return limit


@pytest.mark.parametrize("size", [1, 2, 3, 7, 49, 60, 61, 999])
def test_size_at_once(clock: Monotonic, size: int) -> None:
    """A user has exactly the budget at once."""
    assert spent(MissBudget(size, clock=clock)) == size


def test_no_budget(clock: Monotonic) -> None:
    """``None`` means no limit, and no user is remembered."""
    budget = MissBudget(None, clock=clock)
    assert spent(budget) == 1_000
    assert len(budget._full_at) == 0


def test_wait_until_the_next(clock: Monotonic) -> None:
    """After its share of a minute one more miss is allowed, and the wait is known."""
    budget = MissBudget(60, clock=clock)
    spent(budget)
    assert budget.wait("olga") == pytest.approx(1.0)
    clock.now += 0.75
    assert budget.wait("olga") == pytest.approx(0.25)
    clock.now += 0.25
    assert spent(budget) == 1


@pytest.mark.parametrize(("pause", "misses"), [(15, 15), (59, 59), (60, 60), (86_400, 60)])
def test_refilled_by_time(clock: Monotonic, pause: float, misses: int) -> None:
    """The bucket fills at the rate of the budget, and never holds more than the budget."""
    budget = MissBudget(60, clock=clock)
    spent(budget)
    clock.now += pause
    assert spent(budget) == misses


def test_overspent(clock: Monotonic) -> None:
    """Fetches under way at the end of the budget add nothing to the wait."""
    budget = MissBudget(60, clock=clock)
    for _ in range(200):
        budget.spend("olga")
    assert budget.wait("olga") == pytest.approx(1.0)


def test_refund(clock: Monotonic) -> None:
    """A lookup that was no miss is given back, once."""
    budget = MissBudget(3, clock=clock)
    for _ in range(3):
        budget.spend("olga")
    budget.refund("olga")
    assert spent(budget) == 1


def test_refund_is_never_more_than_the_budget(clock: Monotonic) -> None:
    """A refund never gives more than the budget, refilled or never spent."""
    budget = MissBudget(3, clock=clock)
    budget.spend("olga")
    clock.now += 60
    for who in ("olga", "sam"):
        budget.refund(who)
        assert spent(budget, who) == 3


def test_refund_without_a_budget(clock: Monotonic) -> None:
    """Without a budget a refund does nothing."""
    budget = MissBudget(None, clock=clock)
    budget.refund("olga")
    assert budget.wait("olga") == 0


def test_users_are_told_apart(clock: Monotonic) -> None:
    """One user's spent budget costs other users nothing."""
    budget = MissBudget(60, clock=clock)
    spent(budget, "olga")
    assert budget.wait("sam") == 0
    assert spent(budget, "sam") == 60


def test_users_are_bounded(clock: Monotonic) -> None:
    """A crowd of users does not fill the memory: the user that spent longest ago is dropped."""
    budget = MissBudget(1, clock=clock)
    for number in range(_LIMIT + 1):
        budget.spend(f"user-{number}")
    assert budget.wait("user-0") == 0
    assert budget.wait("user-1") > 0


def test_active_user_is_not_dropped(clock: Monotonic) -> None:
    """A user that goes on spending is not dropped for other users."""
    budget = MissBudget(1, clock=clock)
    for number in range(_LIMIT):
        budget.spend(f"user-{number}")
    budget.spend("user-0")
    budget.spend("another")
    assert budget.wait("user-0") > 0
    assert budget.wait("user-1") == 0


def test_threads_lose_nothing(clock: Monotonic) -> None:
    """Misses of many threads at once are all counted."""
    budget = MissBudget(100, clock=clock)
    start = threading.Barrier(10)

    def spend() -> None:
        start.wait(10)
        for _ in range(10):
            budget.spend("olga")

    threads = [threading.Thread(target=spend) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert budget.wait("olga") == pytest.approx(0.6)  # after 99 there would be one more


def test_default_clock_is_monotonic() -> None:
    """Setting the machine's clock gives no user more budget."""
    budget = MissBudget(1)
    budget.spend("olga")
    assert 0 < budget.wait("olga") <= 60


def test_reserved_at_take_off(clock: Monotonic) -> None:
    """Calls under way count as misses; those that were none are given back."""
    budget = MissBudget(3, clock=clock)
    assert [bool(budget.take("olga")) for _ in range(5)] == [False] * 3 + [True] * 2
    assert budget.wait("olga") == 0  # nothing is spent yet
    for _ in range(3):
        budget.land("olga", is_miss=False)
    assert budget._reserved == {}
    assert (budget.left("olga"), spent(budget)) == (3, 3)


def test_reserved_and_spent(clock: Monotonic) -> None:
    """A reserved miss is spent when the call was a miss."""
    budget = MissBudget(3, clock=clock)
    for _ in range(3):
        assert budget.take("olga") == 0
        budget.land("olga", is_miss=True)
    assert budget.left("olga") == 0
    assert budget.take("olga") == pytest.approx(20)
    clock.now += 20
    assert (budget.left("olga"), budget.take("olga")) == (1, 0)


def test_reserved_without_a_budget(clock: Monotonic) -> None:
    """Without a budget a miss is always allowed."""
    budget = MissBudget(None, clock=clock)
    for _ in range(100):
        assert budget.take("olga") == 0
        budget.land("olga", is_miss=True)
    assert budget.left("olga") > 1_000


def test_reserved_is_forgotten_in_a_child(clock: Monotonic) -> None:
    """In a child the parent's calls under way are not counted."""
    budget = MissBudget(1, clock=clock)
    assert budget.take("olga") == 0
    budget._start_over()
    assert budget.take("olga") == 0
