"""The wall clock is set back or ahead: no entry lives for ever."""

from __future__ import annotations

import pytest

from instance_lookup import (
    ConfigServiceUnavailable,
    InstanceNotFound,
    LookupResult,
    Source,
)
from tests.outages.times import Site, both_caches, both_twins, cache_down
from tests.support.lookups import DOWN, Twin, acme, asks, hooks

HOUR, YEAR = 3600, 365 * 86_400
TTL, STALE_MAX_AGE = 300, 3600
BACK, AHEAD = [-YEAR, -HOUR], [HOUR, YEAR]

jumping = pytest.mark.parametrize("jump", BACK + AHEAD)


@both_caches
@both_twins
@jumping
def test_entry_is_asked_about_after_a_jump(shared: Site, call: Twin, jump: int) -> None:
    """After a jump the entry's age is unknown, so the service is asked again."""
    shared.resolver.resolve(asks())
    shared.service.instances["acme"] = acme("second")
    shared.jumps(jump)
    result: LookupResult = call(shared.resolver, "resolve", asks())
    assert (result.source, result.config.r2_bucket) == (Source.SERVICE, "second")
    assert (result.cached_at, result.ttl_remaining) == (shared.wall.now, TTL)
    assert shared.asked(call) is Source.CACHE


@both_caches
@both_twins
@pytest.mark.parametrize(
    ("jump", "after"),
    [(-HOUR, Source.STALE_CACHE), (HOUR, ConfigServiceUnavailable)],
)
def test_copy_after_a_jump(shared: Site, call: Twin, jump: int, after: object) -> None:
    """A copy from the future is served stale; one that seems too old is not."""
    shared.resolver.resolve(asks())
    shared.service.failure = DOWN
    shared.jumps(jump)
    assert shared.asked(call) is after


@both_twins
@pytest.mark.parametrize(
    ("jump", "longer"),
    [(jump, 0) for jump in BACK + AHEAD] + [(-200, 200)],
)
def test_answer_is_never_fresh_for_long(site: Site, call: Twin, jump: int, longer: int) -> None:
    """An answer is fresh for the ttl at most, unless the clock is put back by less than the ttl.

    Such a step cannot be noticed: the entry lives longer by the length of the step, and no more.
    """
    fetched_at: list[float] = []
    ages: list[float] = []
    for second in range(0, 3 * TTL, 10):
        if second == 100:
            site.jumps(jump)
        before = site.calls
        assert site.asked(call) in (Source.CACHE, Source.SERVICE)
        fetched_at += [site.monotonic.now] * (site.calls - before)
        ages.append(site.monotonic.now - fetched_at[-1])
        site.passes(10)
    assert TTL - 10 <= max(ages) < TTL + longer


@both_twins
def test_copy_ends_after_a_jump_back(site: Site, call: Twin) -> None:
    """After a jump back the stale copy lives longer by the jump, and no more."""
    site.resolver.resolve(asks())
    site.service.failure = DOWN
    site.jumps(-HOUR)
    site.passes(HOUR + STALE_MAX_AGE - 1)
    assert site.asked(call) is Source.STALE_CACHE
    site.passes(1)
    assert site.asked(call) is ConfigServiceUnavailable


@both_caches
@both_twins
@jumping
def test_entry_stored_by_a_wrong_clock(shared: Site, call: Twin, jump: int) -> None:
    """An entry that a wrong clock stored is asked for again once the clock is right."""
    shared.jumps(jump)
    shared.resolver.resolve(asks())
    shared.service.instances["acme"] = acme("second")
    shared.jumps(-jump)
    assert shared.asked(call) is Source.SERVICE
    assert shared.asked(call) is Source.CACHE


@both_caches
@both_twins
@jumping
def test_missing_after_a_jump(shared: Site, call: Twin, jump: int) -> None:
    """After a jump of the clock an unknown id is asked for again."""
    assert shared.asked(call, instance_id="new") is InstanceNotFound
    shared.service.instances["new"] = acme("new", instance_id="new")
    shared.jumps(jump)
    assert shared.asked(call, instance_id="new") is Source.SERVICE


@both_twins
@jumping
def test_jump_during_a_fetch(site: Site, call: Twin, jump: int) -> None:
    """An answer is served after a jump during its fetch, and is fresh for the ttl at most."""
    site.service.meanwhile = lambda: site.jumps(jump)
    result: LookupResult = call(site.resolver, "resolve", asks())
    assert result.source is Source.SERVICE
    assert 0 <= result.ttl_remaining <= TTL
    assert site.asked(call) is Source.SERVICE
    assert site.asked(call) is Source.CACHE


@both_twins
@jumping
def test_answer_kept_ages_by_the_wall_clock(site: Site, call: Twin, jump: int) -> None:
    """A kept answer ages by the wall clock as well, as an entry does."""
    with hooks(cache_down):
        assert site.asked(call) is Source.SERVICE
        site.jumps(jump)
        assert site.asked(call) is Source.SERVICE
