from __future__ import annotations

import pytest

from instance_lookup.resilience.expiring import Expiring
from tests.support.monotonic import Monotonic


@pytest.fixture
def clock() -> Monotonic:
    return Monotonic()


@pytest.fixture
def items(clock: Monotonic) -> Expiring[str]:
    return Expiring(30, limit=2, clock=clock)


def test_item_is_kept(items: Expiring[str]) -> None:
    """An item is found under its own key only."""
    items.put("a", "one")
    assert (items.get("a"), items.get("b")) == ("one", None)


@pytest.mark.parametrize(("passed", "kept"), [(29.9, "one"), (30, None), (31, None)])
def test_item_ends(items: Expiring[str], clock: Monotonic, passed: float, kept: str | None) -> None:
    """An item ends exactly after ``ttl`` seconds."""
    items.put("a", "one")
    clock.now += passed
    assert items.get("a") == kept


def test_item_put_again_lives_from_then_on(items: Expiring[str], clock: Monotonic) -> None:
    """An item that is put again has the new value and a whole new ttl."""
    items.put("a", "one")
    clock.now += 20
    items.put("a", "two")
    clock.now += 20
    assert items.get("a") == "two"


def test_oldest_makes_room(items: Expiring[str]) -> None:
    """When the map is full the oldest item is dropped; an item put again is not the oldest."""
    for key in ("a", "b", "a", "c"):
        items.put(key, key)
    assert [key for key in "abc" if items.get(key)] == ["a", "c"]


def test_what_is_over_makes_room(clock: Monotonic) -> None:
    """Items whose time is over are dropped, so that no tenant's keys stay in memory."""
    items: Expiring[str] = Expiring(30, clock=clock)
    for key in ("a", "b", "c"):
        items.put(key, key)
        clock.now += 10
    assert len(items.items) == 3
    items.put("d", "d")
    assert (len(items.items), items.get("b")) == (3, "b")
    clock.now += 30
    items.put("e", "e")
    assert (len(items.items), items.get("e")) == (1, "e")


def test_ttl_too_short_to_tell() -> None:
    """A ttl that is too short for a float keeps nothing, and raises nothing."""
    items: Expiring[str] = Expiring(1e-12, clock=lambda: 1e9)
    items.put("a", "one")
    assert (len(items.items), items.get("a")) == (0, None)


def test_drop_forgets_one(items: Expiring[str]) -> None:
    """``drop`` removes one item, and tells whether there was one."""
    items.put("a", "one")
    items.put("b", "two")
    assert [items.drop("a") for _ in range(2)] == [True, False]
    assert (items.get("a"), items.get("b")) == (None, "two")


def test_clear_forgets_all(items: Expiring[str]) -> None:
    """``clear`` removes all items."""
    items.put("a", "one")
    items.clear()
    assert items.get("a") is None


def test_clock_is_the_monotonic_one() -> None:
    """Items end by the monotonic clock, which cannot be set back."""
    items: Expiring[int] = Expiring(1_000)
    items.put("a", 1)
    assert items.get("a") == 1
