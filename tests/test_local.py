from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from instance_lookup import InstanceConfig
from instance_lookup.entry import Entry, Freshness, Generation
from instance_lookup.local import LocalKnowledge
from instance_lookup.near import NearCache
from tests.lookups import Clock
from tests.monotonic import Monotonic

UNDER = Generation("g1", "g2")
ANSWERS_LIVE, INVALIDATIONS_LIVE = 5, 3660


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


@pytest.fixture
def local(clock: Clock, monotonic: Monotonic) -> LocalKnowledge[Any]:
    made: LocalKnowledge[Any] = LocalKnowledge(
        answers_live=ANSWERS_LIVE, invalidations_live=INVALIDATIONS_LIVE, stale_max_age=3600
    )
    made._answers._clock = made._changes._clock = made._owed._clock = monotonic
    return made


def answered(at: float, generation: str = "") -> Entry[Any]:
    return Entry(
        document=InstanceConfig(instance_id="acme"),
        raw=Raw(b"{}"),
        cached_at=at,
        ttl=300,
        generation=generation,
        etag=None,
        freshness=Freshness.FRESH,
    )


def test_answer_is_used_again(local: LocalKnowledge[Any], clock: Clock) -> None:
    """For its id alone."""
    kept = answered(clock.now)
    local.keep("acme", kept, since=local.since("acme"))
    assert local.answer("acme") == kept
    assert local.answer("other") is None


@pytest.mark.parametrize(("passed", "used"), [(4.9, True), (5, False)])
def test_answer_ends(
    local: LocalKnowledge[Any], clock: Clock, monotonic: Monotonic, passed: float, used: bool
) -> None:
    """It bridges a moment; another process's invalidation is not heard meanwhile."""
    local.keep("acme", answered(clock.now), since=local.since("acme"))
    monotonic.now += passed
    assert (local.answer("acme") is not None) is used


@pytest.mark.parametrize("asked", ["acme", None])
def test_invalidation_drops_the_answer(
    local: LocalKnowledge[Any], clock: Clock, asked: str | None
) -> None:
    """Of one id, or of all."""
    local.keep("acme", answered(clock.now), since=local.since("acme"))
    local.invalidate(asked)
    assert local.answer("acme") is None


def test_invalidation_of_another_id_leaves_the_answer(
    local: LocalKnowledge[Any], clock: Clock
) -> None:
    """One tenant's change is not the others' stampede."""
    local.keep("acme", answered(clock.now), since=local.since("acme"))
    local.invalidate("other")
    assert local.answer("acme") is not None


def test_answer_under_way_during_an_invalidation_is_not_kept(
    local: LocalKnowledge[Any], clock: Clock
) -> None:
    """It may be the one that was meant."""
    since = local.since("acme")
    local.invalidate("acme")
    local.keep("acme", answered(clock.now), since=since)
    assert local.answer("acme") is None


@pytest.mark.parametrize("asked", ["acme", None])
def test_forgotten_answer_is_not_kept_under_way_either(
    local: LocalKnowledge[Any], clock: Clock, asked: str | None
) -> None:
    """One that says otherwise came in; the cache is owed nothing for it."""
    local.keep("acme", answered(clock.now), since=0)
    mark = local.forget(asked)
    local.keep("acme", answered(clock.now), since=0)
    assert (local.answer("acme"), local.since("acme"), local.owes("acme")) == (None, mark, False)


def test_change_of_another_id_leaves_an_answer_under_way(
    local: LocalKnowledge[Any], clock: Clock
) -> None:
    """Unknown ids that come in all the time must not keep the others' answers from being kept."""
    since = local.since("acme")
    local.forget("nobody")
    local.keep("acme", answered(clock.now), since=since)
    assert local.answer("acme") is not None


def test_dropped_answer_is_gone(local: LocalKnowledge[Any], clock: Clock) -> None:
    """The cache holds a newer one. That changes nothing for what is under way."""
    local.drop("acme")
    local.keep("acme", answered(clock.now), since=0)
    local.drop("acme")
    assert (local.answer("acme"), local.since("acme")) == (None, 0)


@pytest.mark.parametrize("asked", ["acme", None])
def test_invalidation_is_owed_until_confirmed(
    local: LocalKnowledge[Any], asked: str | None
) -> None:
    """The cache, back again, still holds what it was not told of."""
    mark = local.invalidate(asked)
    assert local.since("acme") == local.owed(asked) == mark > 0
    assert local.owes("acme")
    local.confirmed(asked, mark)
    assert (local.owed(asked), local.owes("acme")) == (0, False)


def test_confirmed_invalidation_is_still_a_change(local: LocalKnowledge[Any]) -> None:
    """While this process skips the cache it cannot see the generation that this made there."""
    mark = local.invalidate("acme")
    local.confirmed("acme", mark)
    assert local.since("acme") >= mark


def test_invalidation_of_another_id_is_not_owed(local: LocalKnowledge[Any]) -> None:
    """An invalidation is of its id alone."""
    local.invalidate("other")
    assert (local.since("acme"), local.owes("acme")) == (0, False)


def test_confirmation_of_an_earlier_invalidation_does_not_count(
    local: LocalKnowledge[Any],
) -> None:
    """What was invalidated since then has not been taken yet."""
    earlier = local.invalidate("acme")
    later = local.invalidate("acme")
    local.confirmed("acme", earlier)
    assert local.owed("acme") == later


def test_confirmation_of_a_later_invalidation_counts(local: LocalKnowledge[Any]) -> None:
    """Of two that are written at the same time the later may be taken first."""
    earlier = local.invalidate("acme")
    later = local.invalidate("acme")
    local.confirmed("acme", later)
    local.confirmed("acme", earlier)
    assert not local.owes("acme")


def test_latest_change_counts(local: LocalKnowledge[Any]) -> None:
    """Of the id or of all, whichever came later."""
    local.invalidate("acme")
    assert local.invalidate(None) == local.since("acme")
    assert local.forget("acme") == local.since("acme")


def test_owed_invalidation_outlives_every_entry(
    local: LocalKnowledge[Any], monotonic: Monotonic
) -> None:
    """Nothing from before it can be left by then."""
    local.invalidate("acme")
    monotonic.now += INVALIDATIONS_LIVE - 1
    assert local.owes("acme")
    monotonic.now += 1
    assert not local.owes("acme")
    assert not local.since("acme")


def test_owed_invalidation_is_not_crowded_out(local: LocalKnowledge[Any]) -> None:
    """Ten thousand others later all ids are owed one, rather than this one none."""
    local.invalidate("acme")
    for number in range(10_000):
        local.invalidate(f"x{number}")
    assert local.owes("acme")
    assert local.owes("never named")
    local.confirmed(None, local.owed(None))
    assert not local.owes("acme")


def test_change_is_not_crowded_out(local: LocalKnowledge[Any], clock: Clock) -> None:
    """Nor is the answer kept that was under way when it happened."""
    since = local.since("acme")
    local.forget("acme")
    for number in range(10_000):
        local.forget(f"x{number}")
    local.keep("acme", answered(clock.now), since=since)
    assert local.answer("acme") is None


def test_changes_have_a_bound(local: LocalKnowledge[Any]) -> None:
    """Whoever asks for made-up ids fills no memory."""
    for number in range(10_100):
        local.invalidate(f"x{number}")
    assert len(local._changes.items) == len(local._owed.items) == 100


def test_answer_ages_by_the_wall_clock(local: LocalKnowledge[Any], clock: Clock) -> None:
    """A kept answer is no fresher than one from the cache."""
    local.keep("acme", answered(clock.now), since=local.since("acme"))
    clock.now += 300
    kept = local.answer("acme")
    assert kept is not None
    assert kept.freshness is Freshness.STALE
    clock.now += 3300
    assert local.answer("acme") is None


@pytest.mark.parametrize(("under", "used"), [(UNDER, True), (Generation("g1", "g3"), False)])
def test_unwritten_answer_is_of_one_generation(
    local: LocalKnowledge[Any], clock: Clock, under: Generation, used: bool
) -> None:
    """A cache that is read-only still tells of invalidations."""
    local.keep("acme", answered(clock.now, str(UNDER)), since=0)
    assert (local.unwritten("acme", under) is not None) is used
    assert local.unwritten("other", under) is None


@pytest.mark.parametrize("under", [None, Generation("g1", "g3")])
def test_unwritten_answer_never_comes_back(
    local: LocalKnowledge[Any], clock: Clock, under: Generation | None
) -> None:
    """Another generation was read: that it is too old is known, also once the cache is down."""
    local.keep("acme", answered(clock.now, str(UNDER)), since=0)
    assert local.unwritten("acme", under) is None
    assert local.unwritten("acme", UNDER) is None
    assert local.answer("acme") is None


def test_answer_without_a_generation_is_used_while_there_is_none(
    local: LocalKnowledge[Any], clock: Clock
) -> None:
    """A cache that takes nothing at all has none to tell."""
    local.keep("acme", answered(clock.now), since=0)
    assert local.unwritten("acme", None) is not None


def test_doubt_before_anything_is_at_hand(local: LocalKnowledge[Any]) -> None:
    """What was read before a doubt is not kept after it, also where it came first."""
    local.doubt()
    local.near = NearCache(size=1, ttl=5, share=None)
    local.fill("acme", answered(1_800_000_000.0), since=0, read_at=0.0)
    assert len(local.near) == 0
