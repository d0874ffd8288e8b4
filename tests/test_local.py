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
ANSWERS_LIVE, CHANGES_LIVE = 5, 3660


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


@pytest.fixture
def local(clock: Clock, monotonic: Monotonic) -> LocalKnowledge[Any]:
    made: LocalKnowledge[Any] = LocalKnowledge(
        answers_live=ANSWERS_LIVE, changes_live=CHANGES_LIVE, stale_max_age=3600
    )
    made._answers._clock = made._changes._clock = made._gone._clock = monotonic
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
    local.forget(asked)
    assert local.answer("acme") is None


def test_invalidation_of_another_id_leaves_the_answer(
    local: LocalKnowledge[Any], clock: Clock
) -> None:
    """One tenant's change is not the others' stampede."""
    local.keep("acme", answered(clock.now), since=local.since("acme"))
    local.forget("other")
    assert local.answer("acme") is not None


def test_answer_under_way_during_an_invalidation_is_not_kept(
    local: LocalKnowledge[Any], clock: Clock
) -> None:
    """It may be the one that was meant."""
    since = local.since("acme")
    local.forget("acme")
    local.keep("acme", answered(clock.now), since=since)
    assert local.answer("acme") is None


@pytest.mark.parametrize("asked", ["acme", None])
def test_forgotten_answer_is_not_kept_under_way_either(
    local: LocalKnowledge[Any], clock: Clock, asked: str | None
) -> None:
    """One that says otherwise came in."""
    local.keep("acme", answered(clock.now), since=0)
    mark = local.forget(asked)
    local.keep("acme", answered(clock.now), since=0)
    assert (local.answer("acme"), local.since("acme")) == (None, mark)


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


def test_latest_change_counts(local: LocalKnowledge[Any]) -> None:
    """Of the id or of all, whichever came later."""
    local.forget("acme")
    assert local.forget(None) == local.since("acme")
    assert local.forget("acme") == local.since("acme")


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
        local.gone(f"x{number}", 1.0)
    assert len(local._changes.items) == len(local._gone.items) == 100


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


def test_copy_from_before_a_404_is_gone(local: LocalKnowledge[Any], clock: Clock) -> None:
    """Of this id; a copy that was fetched after it is none from before."""
    local.gone("acme", clock.now)
    assert local.is_gone("acme", answered(clock.now))
    assert not local.is_gone("acme", answered(clock.now + 1))
    assert not local.is_gone("other", answered(clock.now))


def test_gone_is_a_change(local: LocalKnowledge[Any], clock: Clock) -> None:
    """What was under way when the service said so is not kept."""
    since = local.gone("acme", clock.now)
    assert local.since("acme") == since > 0
    local.keep("acme", answered(clock.now), since=0)
    assert local.answer("acme") is None


def test_gone_until_the_cache_took_an_answer(local: LocalKnowledge[Any], clock: Clock) -> None:
    """From then on the generations tell, whatever becomes of the wall clock."""
    local.taken("acme")
    local.gone("acme", clock.now)
    local.taken("acme")
    assert not local.is_gone("acme", answered(clock.now))


def test_gone_outlives_every_entry(
    local: LocalKnowledge[Any], clock: Clock, monotonic: Monotonic
) -> None:
    """Nothing from before it can be left by then."""
    local.gone("acme", clock.now)
    monotonic.now += CHANGES_LIVE - 1
    assert local.is_gone("acme", answered(clock.now))
    monotonic.now += 1
    assert not local.is_gone("acme", answered(clock.now))
    assert not local.since("acme")


def test_gone_is_not_crowded_out(local: LocalKnowledge[Any], clock: Clock) -> None:
    """Ten thousand others later all ids are asked for again, rather than this one served."""
    local.gone("acme", clock.now)
    for number in range(10_000):
        local.gone(f"x{number}", clock.now)
    assert local.is_gone("acme", answered(clock.now))
    assert local.is_gone("never named", answered(clock.now))
