"""The very second at which an entry becomes stale, and that at which it is gone."""

from __future__ import annotations

import pytest

from instance_lookup import (
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
    LookupResult,
    Source,
)
from tests.outages.times import Site, around, both_caches, both_twins
from tests.support.lookups import DOWN, Clock, Twin, acme, asks
from tests.support.waiting import wait_until

TTL, STALE_MAX_AGE, NEGATIVE_TTL = 300, 3600, 30
FROM_CACHE = Source.CACHE, Source.CACHE
AS_STALE = Source.SERVICE, Source.STALE_CACHE
AS_ABSENT = Source.SERVICE, ConfigServiceUnavailable
STATES = {
    -6: AS_STALE,
    -5: FROM_CACHE,
    0: FROM_CACHE,
    TTL - 1: FROM_CACHE,
    TTL: AS_STALE,
    TTL + 1: AS_STALE,
    STALE_MAX_AGE - 1: AS_STALE,
    STALE_MAX_AGE: AS_ABSENT,
    STALE_MAX_AGE + 1: AS_ABSENT,
}
"""By age: what comes of asking while the service is up, and while it is down."""

by_age = pytest.mark.parametrize("age", STATES)


@both_caches
@both_twins
@by_age
def test_entry_with_the_service_up(shared: Site, call: Twin, age: int) -> None:
    """Until the ttl ends the entry is served; after that the service is asked."""
    shared.resolver.resolve(asks())
    sent_at = shared.wall.now
    shared.passes(age)
    result: LookupResult = call(shared.resolver, "resolve", asks())
    assert result.source is STATES[age][0]
    fresh = result.source is Source.CACHE
    assert result.cached_at == (sent_at if fresh else shared.wall.now)
    assert result.ttl_remaining == (TTL - age if fresh else TTL)
    assert shared.calls == (1 if fresh else 2)


@both_caches
@both_twins
@by_age
def test_entry_with_the_service_down(shared: Site, call: Twin, age: int) -> None:
    """Until the age limit the copy is served as stale; after it nothing is."""
    shared.resolver.resolve(asks())
    shared.passes(age)
    shared.service.failure = DOWN
    assert shared.asked(call) is STATES[age][1]
    assert shared.calls == (1 if STATES[age] is FROM_CACHE else 2)


@both_caches
@both_twins
def test_failures_do_not_extend_a_life(shared: Site, call: Twin) -> None:
    """Serving a stale copy does not extend its life: at the age limit it is gone."""
    shared.resolver.resolve(asks())
    shared.service.failure = DOWN
    shared.passes(TTL)
    for _ in range(100):
        assert shared.asked(call) is Source.STALE_CACHE
        shared.passes(33)
    assert shared.asked(call) is ConfigServiceUnavailable


@both_caches
@both_twins
def test_without_stale_copies(clock: Clock, cache_alias: str, call: Twin) -> None:
    """Without USE_STALE_ON_ERROR nothing is served after the ttl."""
    site = Site(clock, cache_alias=cache_alias, use_stale_on_error=False)
    site.resolver.resolve(asks())
    site.service.failure = DOWN
    site.passes(TTL - 1)
    assert site.asked(call) is Source.CACHE
    site.passes(1)
    assert site.asked(call) is ConfigServiceUnavailable


@both_twins
def test_age_counts_from_the_question(site: Site, call: Twin) -> None:
    """An answer's age counts from when it was asked for, however long it took."""
    sent_at = site.wall.now
    site.service.meanwhile = lambda: site.passes(4)
    result: LookupResult = call(site.resolver, "resolve", asks())
    assert (result.cached_at, result.ttl_remaining) == (sent_at, TTL - 4)
    site.passes(TTL - 5)
    assert site.asked(call) is Source.CACHE
    site.passes(1)
    assert site.asked(call) is Source.SERVICE


@both_twins
@around(TTL)
def test_project_mapping(site: Site, call: Twin, passed: int, is_over: bool) -> None:
    """A project's mapping lives as long as a configuration."""
    question = asks(instance_id=None, project_id="shop")
    site.resolver.resolve(question)
    site.service.calls.clear()
    site.passes(passed)
    call(site.resolver, "resolve", question)
    methods = [method for method, *_ in site.service.calls]
    assert methods == (["get_project", "get_instance"] if is_over else [])


@both_caches
@both_twins
@around(NEGATIVE_TTL)
@pytest.mark.parametrize("failure", [None, DOWN])
def test_missing(
    shared: Site,
    call: Twin,
    passed: int,
    is_over: bool,
    failure: InstanceLookupError | None,
) -> None:
    """An unknown id is asked for again after NEGATIVE_TTL."""
    assert shared.asked(call, instance_id="new") is InstanceNotFound
    shared.service.instances["new"] = acme("new", instance_id="new")
    shared.service.failure = failure
    shared.passes(passed)
    after = Source.SERVICE if failure is None else ConfigServiceUnavailable
    assert shared.asked(call, instance_id="new") is (after if is_over else InstanceNotFound)
    assert shared.calls == 1 + is_over


@both_caches
@both_twins
def test_missing_leaves_no_copy(shared: Site, call: Twin) -> None:
    """The copy of a deleted instance does not come back when the 404 is too old."""
    shared.resolver.resolve(asks())
    del shared.service.instances["acme"]
    shared.passes(TTL)
    assert shared.asked(call) is InstanceNotFound
    shared.service.failure = DOWN
    shared.passes(NEGATIVE_TTL)
    assert shared.asked(call) is ConfigServiceUnavailable


def moments(site: Site, call: Twin, names: list[str], ages: list[float]) -> dict[str, float]:
    """Return for each id the age at which its entry was refreshed, without a wait."""
    for name in names:
        site.resolver.resolve(asks(instance_id=name))
    site.service.calls.clear()
    stored_at = site.wall.now
    seen: dict[str, float] = {}
    for age in ages:
        site.wall.now = stored_at + age
        for name in names:
            if name not in seen:
                assert site.asked(call, instance_id=name) is Source.CACHE
        wait_until(lambda: not site.flights)
        seen |= {name: age for _, name, _ in site.service.calls if name and name not in seen}
    return seen


@both_caches
@both_twins
@pytest.mark.parametrize(("share", "begins"), [(0.8, 240), (0.5, 150)])
def test_refresh_ahead(
    clock: Clock, cache_alias: str, call: Twin, share: float, begins: int
) -> None:
    """A refresh comes after its share of the ttl, before the end, at a moment of each id."""
    site = Site(clock, cache_alias=cache_alias, refresh_ahead=share)
    names = [f"tenant{number}" for number in range(16)]
    site.service.instances = {name: acme(name, instance_id=name) for name in names}
    between = [begins + (TTL - begins) * tenth / 10 for tenth in range(10)]
    refreshed = moments(site, call, names, [0, begins - 1, *between, TTL - 0.001])
    assert set(refreshed) == set(names)
    assert site.calls == len(names)
    assert min(refreshed.values()) >= begins
    assert len(set(refreshed.values())) > 2


@both_twins
def test_refresh_ahead_turned_off(site: Site, call: Twin) -> None:
    """With ``None`` there is no refresh before the ttl ends."""
    assert moments(site, call, ["acme"], [0, 240, TTL - 1, TTL - 0.001]) == {}
    assert site.calls == 0
