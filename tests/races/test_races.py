"""Invalidation wins each race, at each point of a lookup, with each way to fetch and to store.

An interruption is done by the thread under test itself when it comes to the point, and where two
threads take turns each waits for the other's step: no luck.

On ``locmem`` every (way to fetch, point, act) is tried. On the other kinds of cache every two of
the three meet, and ``redis`` is spoken to as ``django-redis`` is. With ``--full`` all are tried on
each.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from threading import current_thread
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import ConfigServiceUnavailable
from tests.races.race_acts import (
    ACTS,
    WAYS,
    aask,
    ask,
    close_gate,
    expire,
    foreground,
    invalidate,
    invalidate_all,
    refill,
    see_deleted,
    stale,
)
from tests.races.races import POINTS, Race, Turns, closing, run
from tests.support.stores import ENTRY, EVERYTHING, EXPIRY, OWN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Do = Callable[[Race], None]
    Ask = Callable[[Race], str]

THREE_MEET = ("locmem",)
TWO_MEET = ("django-redis", "filebased", "db")
FULL = pytest.mark.full
KINDS = (*THREE_MEET, *TWO_MEET, "redis")

DOWN = ConfigServiceUnavailable("down", reason="status")
GONE = {"InstanceNotFound", "ConfigServiceUnavailable"}
CHANGED = {"second", "ConfigServiceUnavailable"}
ORDERS = [
    "".join("A" if i in of_a else "B" for i in range(6)) for of_a in combinations(range(6), 3)
]
"""In which two may take three steps each."""

INVALIDATIONS = [invalidate, invalidate_all]


def every(
    names: str, ways: Sequence[Any], points: Sequence[str], acts: Sequence[Any], *only: Any
) -> pytest.MarkDecorator:
    """Parametrize with all (kind of cache, way, point, act), the most telling ones unmarked."""
    cases = [
        pytest.param(
            kind,
            way,
            point,
            act,
            id=f"{kind}-{way.__name__}-{point}-{act.__name__}",
            marks=() if is_telling(kind, two_meet=(w + p + k) % len(acts) == a) else FULL,
        )
        for k, kind in enumerate(KINDS)
        for w, way in enumerate(ways)
        for p, point in enumerate(points)
        for a, act in enumerate(acts)
        if act in (only or acts)
    ]
    return pytest.mark.parametrize(f"cache_kind, {names}", cases)


def is_telling(kind: str, *, two_meet: bool) -> bool:
    return kind in THREE_MEET or (kind in TWO_MEET and two_meet)


def every_race(*acts: Do) -> pytest.MarkDecorator:
    return every("fetch, point, act", WAYS, POINTS, ACTS, *acts)


@pytest.fixture
def race(monkeypatch: pytest.MonkeyPatch, cache_alias: str) -> Race:
    # Half of it is longer than a test waits: a lookup that follows the wrong flight fails the test.
    return Race(cache_alias, monkeypatch, config_service_timeout=25)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch, cache_alias: str) -> Race:
    """A race in which no caller has a copy before the call has ended, however slow the machine."""
    return Race(cache_alias, monkeypatch, config_service_timeout=25, soft_timeout=20)


@every_race(invalidate, invalidate_all, refill)
def test_invalidated(race: Race, fetch: Do, point: str, act: Do) -> None:
    """What was invalidated is never served again: not as a stale copy, and not in any process."""
    run(race, fetch, point, act)
    race.service.failure = DOWN
    assert race.seen_by_both() <= CHANGED
    race.service.failure = None
    assert race.seen_by_both() == {"second"}


@every_race(see_deleted)
def test_deleted(race: Race, fetch: Do, point: str, act: Do) -> None:
    """An older answer does not bring back an instance that another process knows to be deleted."""
    run(race, fetch, point, act)
    race.service.failure = DOWN
    assert race.seen_by_both() <= GONE
    race.clock.now += 31  # NEGATIVE_TTL
    assert race.seen_by_both() <= GONE
    race.service.failure = None
    assert race.seen_by_both() == {"InstanceNotFound"}


@every_race(expire)
def test_expired(race: Race, fetch: Do, point: str, act: Do) -> None:
    """An expired entry is not served again before the service was asked."""
    run(race, fetch, point, act)
    assert race.seen_by_both() == {"second"}


@every(
    "fetch, point, act",
    [foreground, stale],
    [
        "after the fetch",
        "before the store",
        f"before {OWN} is set",
        f"before {ENTRY} is set",
        "after the store",
    ],
    [invalidate, invalidate_all, refill],
)
def test_missing(race: Race, fetch: Do, point: str, act: Do) -> None:
    """An older 404 does not hide an instance that was created and invalidated meanwhile."""
    race.here.cache.generation("acme")
    if fetch is not foreground:
        assert race.seen(race.here) == "first"
    race.service.instances.clear()
    race.service.interrupt(race.here, point, lambda: act(race))
    fetch(race)
    race.settle()
    race.service.failure = DOWN
    was_refilled = act is refill and " is set" not in point  # else: the next is to ask
    assert race.seen_by_both() <= ({"second"} if was_refilled else CHANGED)
    race.service.failure = None
    assert race.seen_by_both() == {"second"}


STEPS = {
    "A": {"before the fetch", f"before {ENTRY} is set"},
    "B": {f"before {key} is set" for key in (OWN, EVERYTHING, EXPIRY, ENTRY)},
}
"""What begins with these; the first one of each begins by itself."""


@every("fetch, order, act", [foreground], ORDERS, [invalidate, invalidate_all, see_deleted])
def test_order(race: Race, fetch: Do, order: str, act: Do) -> None:
    """A fetch, A, and an invalidation, B, may take their steps in any order."""
    turns = Turns(order)

    def on(point: str) -> None:
        who = "B" if current_thread().name.startswith("B") else "A"
        if point in STEPS[who]:
            turns.take(who)

    def do(who: str, what: Do) -> None:
        turns.take(who)
        what(race)
        turns.leave(who)

    race.here.cache.generation("acme")
    race.service.on = on
    with ThreadPoolExecutor(1, "B") as pool:
        invalidation = pool.submit(closing, do, "B", act)
        do("A", fetch)
        invalidation.result(timeout=10)
    race.service.on = race.service.pass_by
    race.settle()
    assert not turns.is_stuck
    race.service.failure = DOWN
    assert race.seen_by_both() <= (GONE if act is see_deleted else CHANGED)
    race.service.failure = None
    assert race.seen_by_both() == {"InstanceNotFound" if act is see_deleted else "second"}


@every("ask, point, act", [ask, aask], [*POINTS[:4], "before the second look"], INVALIDATIONS)
def test_copy_of_failed_call(patient: Race, ask: Ask, point: str, act: Do) -> None:
    """A stale copy read before an invalidation is not served when the call fails after it."""
    assert patient.seen(patient.here) == "first"
    patient.clock.now += 300
    patient.service.failure = DOWN
    patient.service.interrupt(patient.here, point, lambda: act(patient))
    assert ask(patient) == "ConfigServiceUnavailable"
    patient.settle()


@every("ask, point, act", [ask, aask], ["before the second look"], [*INVALIDATIONS, see_deleted])
def test_copy_of_slow_call(race: Race, ask: Ask, point: str, act: Do) -> None:
    """A caller whose copy is invalidated during the soft timeout waits for the answer."""

    def act_and_go_on() -> None:
        act(race)
        race.service.gate.set()

    assert race.seen(race.here) == "first"
    race.clock.now += 300
    close_gate(race)
    race.service.interrupt(race.here, point, act_and_go_on)
    expected = "InstanceNotFound" if act is see_deleted else "second"
    assert ask(race) == expected
    race.settle()
    assert race.seen_by_both() == {expected}
