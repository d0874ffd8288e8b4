"""The very second at which a process asks again what it left alone for a while."""

from __future__ import annotations

import pytest

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
    Source,
)
from tests.outages.times import Site, around, both_caches, both_twins, cache_down
from tests.support.lookups import ADA, DOWN, Clock, Twin, asks, hooks

TTL, STALE_MAX_AGE, CACHE_SKIPPED = 300, 3600, 5
NEGATIVE_TTL, NEAR_CACHE_TTL, RETRY_INTERVAL, BREAKER_RESET = 30, 5, 30, 10


@both_twins
@around(NEAR_CACHE_TTL)
@pytest.mark.parametrize("failure", [None, DOWN])
def test_answer_kept_while_the_cache_is_down(
    site: Site,
    call: Twin,
    passed: int,
    is_over: bool,
    failure: InstanceLookupError | None,
) -> None:
    """While the cache is down an answer is kept for NEAR_CACHE_TTL, and no longer."""
    with hooks(cache_down):
        assert site.asked(call) is Source.SERVICE
        site.service.failure = failure
        site.passes(passed)
        after = Source.SERVICE if failure is None else ConfigServiceUnavailable
        assert site.asked(call) is (after if is_over else Source.CACHE)
    assert site.calls == 1 + is_over


@both_twins
@around(CACHE_SKIPPED)
def test_cache_that_failed(site: Site, call: Twin, passed: int, is_over: bool) -> None:
    """A cache that failed is not used for a while, then asked again."""
    touched: list[str] = []

    def down(verb: str, key: str) -> None:
        touched.append(key)
        cache_down(verb, key)

    with hooks(down):
        site.asked(call)
        touched.clear()
        site.passes(passed)
        site.asked(call)
    assert bool(touched) is is_over


@both_caches
@both_twins
@around(NEGATIVE_TTL)
def test_refusal(shared: Site, call: Twin, passed: int, is_over: bool) -> None:
    """A refused user is refused for NEGATIVE_TTL without a call, though others are served."""
    shared.service.failure = AccessDenied("no")
    assert shared.asked(call) is AccessDenied
    shared.service.failure = None
    assert shared.asked(call, user=ADA) is Source.SERVICE
    shared.passes(passed)
    assert shared.asked(call) is (Source.CACHE if is_over else AccessDenied)
    assert shared.calls == 2


@both_caches
@both_twins
@around(RETRY_INTERVAL)
def test_rest_after_a_failure(shared: Site, call: Twin, passed: int, is_over: bool) -> None:
    """With a copy the service is not asked for RETRY_INTERVAL after a failure, then it is."""
    shared.resolver.resolve(asks())
    shared.passes(TTL)
    shared.service.failure = DOWN
    assert shared.asked(call) is Source.STALE_CACHE
    shared.service.failure = None
    shared.passes(passed)
    assert shared.asked(call) is (Source.SERVICE if is_over else Source.STALE_CACHE)
    assert shared.calls == 2 + is_over


@both_caches
@both_twins
def test_rest_ends_with_the_copy(shared: Site, call: Twin) -> None:
    """When the copy becomes too old, the id does not rest: the next caller asks the service."""
    shared.resolver.resolve(asks())
    shared.passes(STALE_MAX_AGE - 1)
    shared.service.failure = DOWN
    assert shared.asked(call) is Source.STALE_CACHE
    shared.service.failure = None
    shared.passes(1)
    assert shared.asked(call) is Source.SERVICE


@both_twins
@around(BREAKER_RESET)
def test_open_breaker(clock: Clock, call: Twin, passed: int, is_over: bool) -> None:
    """For BREAKER_RESET no call is made, and callers are told how long that still lasts."""
    site = Site(clock, breaker_failures=1)
    site.service.failure = DOWN
    assert site.asked(call) is ConfigServiceUnavailable
    site.service.failure = None
    site.passes(passed)
    if is_over:
        assert site.asked(call) is Source.SERVICE
        assert site.asked(call, instance_id="other") is InstanceNotFound  # and is closed again
    else:
        with pytest.raises(ConfigServiceUnavailable) as caught:
            call(site.resolver, "resolve", asks())
        assert caught.value.retry_after == BREAKER_RESET - passed
        assert site.calls == 1


@both_twins
@around(20)
def test_retry_after(site: Site, call: Twin, passed: int, is_over: bool) -> None:
    """Retry-After of the service holds to the second, after a single failure."""
    site.service.failure = ConfigServiceUnavailable("later", reason="status", retry_after=20)
    assert site.asked(call) is ConfigServiceUnavailable
    site.service.failure = None
    site.passes(passed)
    assert site.asked(call) is (Source.SERVICE if is_over else ConfigServiceUnavailable)
    assert site.calls == 1 + is_over
