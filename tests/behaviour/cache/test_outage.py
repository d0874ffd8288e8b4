from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from instance_lookup import InstanceConfig
from instance_lookup.cache.entry import Entry, Freshness, Generation
from instance_lookup.cache.epochs import Epochs
from instance_lookup.cache.outage import OutageBuffer
from instance_lookup.conf import apply_options
from tests.support.monotonic import Monotonic

if TYPE_CHECKING:
    from tests.support.lookups import Clock

UNDER = Generation("g1", "g2")
ANSWERS_LIVE, CHANGES_LIVE = 5, 3660
MOST_BYTES = 1000


class Known:
    """A buffer, and the changes that it has to drop answers for."""

    def __init__(self) -> None:
        settings = apply_options({"near_cache_ttl": ANSWERS_LIVE, "near_cache_bytes": MOST_BYTES})
        self.buffer: OutageBuffer[Any] = OutageBuffer(settings, CHANGES_LIVE)
        self.epochs = Epochs(CHANGES_LIVE, self.buffer)
        self.monotonic = Monotonic(self.buffer, self.epochs)
        self.since, self.forget = self.epochs.of, self.epochs.change
        self.answer, self.unwritten = self.buffer.answer, self.buffer.unwritten
        self.drop, self.taken = self.buffer.drop, self.buffer.taken
        self.gone, self.is_gone = self.buffer.mark_gone, self.buffer.is_gone

    def keep(self, asked: str, entry: Entry[Any], *, since: int) -> None:
        self.epochs.keep(asked, since, partial(self.buffer.keep, asked, entry))


@pytest.fixture
def known(clock: Clock) -> Known:
    return Known()


@pytest.fixture
def monotonic(known: Known) -> Monotonic:
    return known.monotonic


def answered(at: float, generation: str = "", size: int = 2) -> Entry[Any]:
    return Entry(
        document=InstanceConfig(instance_id="acme"),
        raw=Raw(b"{}".ljust(size)),
        cached_at=at,
        ttl=300,
        generation=generation,
        etag=None,
        freshness=Freshness.FRESH,
    )


def test_answer_is_used_again(known: Known, clock: Clock) -> None:
    """A kept answer is used for its own id only."""
    kept = answered(clock.now)
    known.keep("acme", kept, since=known.since("acme"))
    assert known.answer("acme") == kept
    assert known.answer("other") is None


@pytest.mark.parametrize(("passed", "used"), [(4.9, True), (5, False)])
def test_answer_ends(
    known: Known, clock: Clock, monotonic: Monotonic, passed: float, used: bool
) -> None:
    """A kept answer is used for a short time: invalidations of other processes are not heard."""
    known.keep("acme", answered(clock.now), since=known.since("acme"))
    monotonic.now += passed
    assert (known.answer("acme") is not None) is used


def test_oldest_answers_make_room_where_there_are_too_many_bytes(
    known: Known, clock: Clock
) -> None:
    """When kept answers take too many bytes the oldest are dropped."""
    for asked in ("first", "second", "third"):
        known.keep(asked, answered(clock.now, size=400), since=0)
    held = [known.answer(asked) is not None for asked in ("first", "second", "third")]
    assert held == [False, True, True]


def test_answer_of_more_bytes_than_there_may_be_pushes_out_none(known: Known, clock: Clock) -> None:
    """An answer that is too large is not kept, drops the older one of its id, and no other."""
    for asked in ("acme", "other"):
        known.keep(asked, answered(clock.now, size=MOST_BYTES // 2), since=0)
    known.keep("acme", answered(clock.now, size=MOST_BYTES + 1), since=0)
    assert known.answer("acme") is None
    assert known.answer("other") is not None


@pytest.mark.parametrize("asked", ["acme", None])
def test_invalidation_drops_the_answer(known: Known, clock: Clock, asked: str | None) -> None:
    """An invalidation, of the id or of all ids, drops the kept answer."""
    known.keep("acme", answered(clock.now), since=known.since("acme"))
    known.forget(asked)
    assert known.answer("acme") is None


def test_invalidation_of_another_id_leaves_the_answer(known: Known, clock: Clock) -> None:
    """An invalidation of another id leaves the answer."""
    known.keep("acme", answered(clock.now), since=known.since("acme"))
    known.forget("other")
    assert known.answer("acme") is not None


def test_answer_under_way_during_an_invalidation_is_not_kept(known: Known, clock: Clock) -> None:
    """An answer that was under way during an invalidation is not kept: it may be the old one."""
    since = known.since("acme")
    known.forget("acme")
    known.keep("acme", answered(clock.now), since=since)
    assert known.answer("acme") is None


@pytest.mark.parametrize("asked", ["acme", None])
def test_forgotten_answer_is_not_kept_under_way_either(
    known: Known, clock: Clock, asked: str | None
) -> None:
    """An answer that was under way when its id was forgotten is not kept either."""
    known.keep("acme", answered(clock.now), since=0)
    mark = known.forget(asked)
    known.keep("acme", answered(clock.now), since=0)
    assert (known.answer("acme"), known.since("acme")) == (None, mark)


def test_change_of_another_id_leaves_an_answer_under_way(known: Known, clock: Clock) -> None:
    """A change of another id does not keep an answer that is under way from being kept."""
    since = known.since("acme")
    known.forget("nobody")
    known.keep("acme", answered(clock.now), since=since)
    assert known.answer("acme") is not None


def test_dropped_answer_is_gone(known: Known, clock: Clock) -> None:
    """A dropped answer is gone, and an answer that is under way may still be kept."""
    known.drop("acme")
    known.keep("acme", answered(clock.now), since=0)
    known.drop("acme")
    assert (known.answer("acme"), known.since("acme")) == (None, 0)


def test_latest_change_counts(known: Known) -> None:
    """The later of two changes counts: one of the id, or one of all ids."""
    known.forget("acme")
    assert known.forget(None) == known.since("acme")
    assert known.forget("acme") == known.since("acme")


def test_change_is_not_crowded_out(known: Known, clock: Clock) -> None:
    """A change is remembered after 10,000 others, so an answer from before it is not kept."""
    since = known.since("acme")
    known.forget("acme")
    for number in range(10_000):
        known.forget(f"x{number}")
    known.keep("acme", answered(clock.now), since=since)
    assert known.answer("acme") is None


def test_changes_have_a_bound(known: Known) -> None:
    """Requests for made-up ids do not fill the memory."""
    for number in range(10_100):
        known.gone(f"x{number}", 1.0)
        known.forget(f"x{number}")
    assert len(known.epochs._changes.items) == len(known.buffer._gone.items) == 100


def test_answer_ages_by_the_wall_clock(known: Known, clock: Clock) -> None:
    """A kept answer ages by the wall clock, as an entry does."""
    known.keep("acme", answered(clock.now), since=known.since("acme"))
    clock.now += 300
    kept = known.answer("acme")
    assert kept is not None
    assert kept.freshness is Freshness.STALE
    clock.now += 3300
    assert known.answer("acme") is None


@pytest.mark.parametrize(("under", "used"), [(UNDER, True), (Generation("g1", "g3"), False)])
def test_unwritten_answer_is_of_one_generation(
    known: Known, clock: Clock, under: Generation, used: bool
) -> None:
    """A kept answer is used only while the read-only cache still has its generation."""
    known.keep("acme", answered(clock.now, str(UNDER)), since=0)
    assert (known.unwritten("acme", under) is not None) is used
    assert known.unwritten("other", under) is None


@pytest.mark.parametrize("under", [None, Generation("g1", "g3")])
def test_unwritten_answer_never_comes_back(
    known: Known, clock: Clock, under: Generation | None
) -> None:
    """An answer is dropped for good once another generation was read from the cache."""
    known.keep("acme", answered(clock.now, str(UNDER)), since=0)
    assert known.unwritten("acme", under) is None
    assert known.unwritten("acme", UNDER) is None
    assert known.answer("acme") is None


def test_answer_without_a_generation_is_used_while_there_is_none(
    known: Known, clock: Clock
) -> None:
    """An answer without a generation is used while the cache has none either."""
    known.keep("acme", answered(clock.now), since=0)
    assert known.unwritten("acme", None) is not None


def test_copy_from_before_a_404_is_gone(known: Known, clock: Clock) -> None:
    """After a 404 older copies of this id are gone; a copy that was fetched later is not."""
    known.gone("acme", clock.now)
    assert known.is_gone("acme", answered(clock.now))
    assert not known.is_gone("acme", answered(clock.now + 1))
    assert not known.is_gone("other", answered(clock.now))


def test_gone_until_the_cache_took_an_answer(known: Known, clock: Clock) -> None:
    """Once the cache took an answer the generations decide, not the wall clock."""
    known.taken("acme")
    known.gone("acme", clock.now)
    known.taken("acme")
    assert not known.is_gone("acme", answered(clock.now))


def test_gone_outlives_every_entry(known: Known, clock: Clock, monotonic: Monotonic) -> None:
    """A 404 is remembered until no copy from before it can be left."""
    known.gone("acme", clock.now)
    monotonic.now += CHANGES_LIVE - 1
    assert known.is_gone("acme", answered(clock.now))
    monotonic.now += 1
    assert not known.is_gone("acme", answered(clock.now))


def test_gone_is_not_crowded_out(known: Known, clock: Clock) -> None:
    """After ten thousand other 404s all ids are asked for again, so this one is never served."""
    known.gone("acme", clock.now)
    for number in range(10_000):
        known.gone(f"x{number}", clock.now)
    assert known.is_gone("acme", answered(clock.now))
    assert known.is_gone("never named", answered(clock.now))


def test_change_outlives_every_answer(known: Known, monotonic: Monotonic) -> None:
    """A change is remembered until no answer from before it can be under way."""
    known.forget("acme")
    monotonic.now += CHANGES_LIVE - 1
    assert known.since("acme")
    monotonic.now += 1
    assert not known.since("acme")


@pytest.mark.parametrize("asked", ["acme", None])
def test_buffer_is_used_while_it_holds_something(
    known: Known, clock: Clock, asked: str | None
) -> None:
    """Reads look into the buffer only while it holds something."""
    seen = [known.buffer.is_used]
    known.keep("acme", answered(clock.now), since=0)
    seen.append(known.buffer.is_used)
    known.drop(asked)
    seen.append(known.buffer.is_used)
    known.gone("acme", clock.now)
    seen.append(known.buffer.is_used)
    assert seen == [False, True, False, True]


def test_late_404_lowers_no_mark(known: Known) -> None:
    """A late answer to an earlier question does not lower the mark of a 404."""
    known.gone("acme", 100.0)
    known.gone("acme", 90.0)
    assert known.is_gone("acme", answered(95.0))


def test_mark_for_all_ids_lowers_no_mark(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark for all ids replaces single marks that have no more room, and lowers none."""
    monkeypatch.setattr("instance_lookup.cache.epochs._LIMIT", 1)
    known.gone("acme", 100.0)
    known.gone("other", 90.0)
    assert known.is_gone("acme", answered(95.0))
