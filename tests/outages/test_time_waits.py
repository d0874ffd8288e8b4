"""The wall clock is set back or ahead: each wait is as long as before."""

from __future__ import annotations

import time
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from django.test import override_settings

from instance_lookup import AccessDenied, ConfigServiceUnavailable, Source
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.cache import epochs
from instance_lookup.cache import health as cache_health
from instance_lookup.concurrency import single_flight as flight
from instance_lookup.concurrency import steps
from instance_lookup.concurrency import threads as workers
from instance_lookup.fetching import refusals, service_health
from instance_lookup.resilience import breaker, deadline, expiring
from tests.outages.outages import healthy
from tests.outages.times import Site, both_twins, cache_down
from tests.support.insides import disconnect
from tests.support.leases import Lease
from tests.support.lookups import DOWN, Clock, Twin, asks, hooked_caches, hooks
from tests.support.servers import Received, Script, ScriptedServer, mute
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

HOUR, YEAR = 3600, 365 * 86_400
TTL = 300
BACK, AHEAD = [-YEAR, -HOUR], [HOUR, YEAR]

jumping = pytest.mark.parametrize("jump", BACK + AHEAD)


@both_twins
@jumping
def test_refusal_is_not_moved(site: Site, call: Twin, jump: int) -> None:
    """A refusal lasts 30 seconds of the monotonic clock, though the wall clock jumps."""
    site.service.failure = AccessDenied("no")
    assert site.asked(call) is AccessDenied
    site.service.failure = None
    site.jumps(jump)
    site.monotonic.now += 29
    assert (site.asked(call), site.calls) == (AccessDenied, 1)
    site.monotonic.now += 1
    assert (site.asked(call), site.calls) == (Source.SERVICE, 2)


@both_twins
@pytest.mark.parametrize("jump", [*BACK, HOUR / 2])
def test_rest_is_not_moved(site: Site, call: Twin, jump: int) -> None:
    """With a copy the service rests for RETRY_INTERVAL, though the wall clock jumps."""
    site.resolver.resolve(asks())
    site.passes(TTL)
    site.service.failure = DOWN
    assert site.asked(call) is Source.STALE_CACHE
    site.service.failure = None
    site.jumps(jump)
    site.monotonic.now += 29
    assert (site.asked(call), site.calls) == (Source.STALE_CACHE, 2)
    site.monotonic.now += 1
    assert (site.asked(call), site.calls) == (Source.SERVICE, 3)


@both_twins
@jumping
def test_open_breaker_is_not_moved(clock: Clock, call: Twin, jump: int) -> None:
    """The breaker stays open for BREAKER_RESET, no longer and no shorter."""
    site = Site(clock, breaker_failures=1)
    site.service.failure = DOWN
    assert site.asked(call) is ConfigServiceUnavailable
    site.service.failure = None
    site.jumps(jump)
    site.monotonic.now += 9
    assert (site.asked(call), site.calls) == (ConfigServiceUnavailable, 1)
    site.monotonic.now += 1
    assert (site.asked(call), site.calls) == (Source.SERVICE, 2)


@both_twins
@pytest.mark.parametrize("jump", [-4, 60])
def test_answer_kept_is_not_moved(site: Site, call: Twin, jump: int) -> None:
    """While the cache is down an answer bridges NEAR_CACHE_TTL, by the monotonic clock."""
    with hooks(cache_down):
        assert site.asked(call) is Source.SERVICE
        site.jumps(jump)
        site.monotonic.now += 4
        assert (site.asked(call), site.calls) == (Source.CACHE, 1)
        site.monotonic.now += 1
        assert (site.asked(call), site.calls) == (Source.SERVICE, 2)


class Hanging:
    """A service that answers once and then hangs, and sets the wall clock before it does."""

    def __init__(self, clock: Clock, jump: float) -> None:
        self.clock, self.jump = clock, jump
        self.hangs = False

    def __call__(self, request: Received) -> Script:
        if not self.hangs:
            return healthy(request)
        self.clock.now += self.jump
        return mute()

    @contextmanager
    def site(self, timeout: float) -> Iterator[Site]:
        """Yield a site on a real socket, with an answer in its cache."""
        with ScriptedServer(self) as server, override_settings(CACHES=hooked_caches()):
            site = Site(
                self.clock,
                config_service_backend=HttpConfigService,
                config_service_url=server.url,
                config_service_timeout=timeout,
                soft_timeout=0.2,
            )
            site.resolver.resolve(asks())
            self.hangs = True
            yield site
            server.stop()
            wait_until(lambda: not site.flights)
            disconnect(site.resolver.backend)


@both_twins
@jumping
def test_deadline_is_not_moved(clock: Clock, call: Twin, jump: int) -> None:
    """A call to a service that hangs ends at its deadline, though the wall clock jumps."""
    with Hanging(clock, jump).site(timeout=1) as site:
        site.resolver.invalidate_cache("acme")
        before = clock.now
        with within(1):
            assert site.asked(call) is ConfigServiceUnavailable
        wait_until(lambda: clock.now == before + jump)


@both_twins
@pytest.mark.parametrize("jump", [*BACK, HOUR / 2])
def test_soft_timeout_is_not_moved(clock: Clock, call: Twin, jump: float) -> None:
    """The stale copy is served after the soft timeout, though the wall clock jumps."""
    with Hanging(clock, jump).site(timeout=10) as site:
        site.passes(TTL)
        before = clock.now
        with within(0.2):
            assert site.asked(call) is Source.STALE_CACHE
        wait_until(lambda: clock.now == before + jump)


@both_twins
@jumping
def test_follower_is_not_moved(clock: Clock, call: Twin, jump: int) -> None:
    """A follower makes its own call half way to the deadline, though the wall clock jumps."""
    with override_settings(CACHES=hooked_caches()):
        site = Site(clock, config_service_timeout=2)
        tiers = site.resolver.cache.tiers
        generation = tiers.shared.read("acme").generation
        assert generation is not None
        assert Lease("acme", generation, health=tiers.health).take()
        jumps = [jump]

        def set_clock(verb: str, key: str) -> None:
            if verb == "get" and "lease" in key and jumps:
                site.jumps(jumps.pop())

        begun = monotonic()
        with hooks(set_clock), within(2):
            assert site.asked(call) is Source.SERVICE
        assert (jumps, monotonic() - begun >= 1) == ([], True)


@pytest.mark.parametrize(
    "module",
    [
        *(breaker, cache_health, deadline, epochs, expiring),
        *(flight, refusals, steps, service_health, workers),
    ],
)
def test_waiting_reads_no_wall_clock(module: ModuleType) -> None:
    """No module that waits reads the wall clock."""
    assert not [name for name, value in vars(module).items() if value in (time, time.time)]
