"""In each order of acts, no caller is served what they may not have.

The default run takes a few thousand steps, always the same ones. The full one takes 10,000 new
ones: ``INSTANCE_LOOKUP_STEPS=10000 pytest tests/races/test_state_machine.py``.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from django.core.cache import caches
from hypothesis import HealthCheck
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from instance_lookup import (
    AccessDenied,
    CacheError,
    ConfigServiceUnavailable,
    InstanceNotFound,
    LookupResult,
    LookupUser,
    Source,
)
from tests.races.model import (
    BREAKER_RESET,
    CACHE_SKIPPED,
    NEAR_CACHE_TTL,
    NEGATIVE_TTL,
    NEVER,
    OWNERS,
    PROCESSES,
    STALE_MAX_AGE,
    TTL,
    Known,
    two_processes,
)
from tests.support.lookups import ADA, OLGA, SAM, asks

if TYPE_CHECKING:
    from collections.abc import Callable

BOB = LookupUser("bob")
STEPS, STEPS_EACH = 6000, 50

tenants = st.sampled_from(sorted(OWNERS))
users = st.sampled_from([OLGA, BOB, ADA, SAM])
processes = st.sampled_from(PROCESSES)
lookups = st.integers(1, 3)


class Lookups(RuleBasedStateMachine):
    """Two processes on one cache, against a model of what each of them may serve."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.world, self.resolvers = self.stack.enter_context(two_processes())

    def teardown(self) -> None:
        self.stack.close()

    @rule(process=processes, user=users, tenant=tenants)
    def resolve(self, process: int, user: LookupUser, tenant: str) -> None:
        self._resolve(process, user, tenant)

    @rule()
    def resolve_all_by_owners(self) -> None:
        for tenant in OWNERS:
            for process in PROCESSES:
                self._resolve_by_owner(process, tenant)

    @rule(process=processes, tenant=tenants)
    def resolve_by_owner_and_admin(self, process: int, tenant: str) -> None:
        self._resolve_by_owner(process, tenant)
        self._resolve(process, ADA, tenant)
        self._resolve_by_owner(process, tenant)

    def _resolve_by_owner(self, process: int, tenant: str) -> None:
        self._resolve(process, LookupUser(OWNERS[tenant]), tenant)

    def _resolve(self, process: int, user: LookupUser, tenant: str) -> None:
        world, here = self.world, (process, tenant)
        world.lookups += 1
        newest, own = world.last[tenant], world.own[here]
        shared, heard = world.shared[tenant], world.heard[here]
        may = user is ADA or user.user_id == OWNERS[tenant]
        refused_at = world.refused_at.get((process, user.user_id, tenant), NEVER)
        try:
            with world.acts(process, is_looking=True):
                result = self.resolvers[process].resolve(asks(user, tenant))
        except InstanceNotFound:
            hears = world.heard_in.get(here) == world.lookups
            known = shared if hears else heard
            self._check_missing(process, tenant, max(own, known.invalidated))
        except AccessDenied:
            told_at = world.refused_at.get((process, user.user_id, tenant), NEVER)
            assert not may or world.clock.now - told_at < NEGATIVE_TTL
        except ConfigServiceUnavailable:
            failed_at = world.failed_at[process]
            assert world.down_for or world.is_slow or world.clock.now - failed_at < BREAKER_RESET
        else:
            assert may
            assert world.clock.now - refused_at >= NEGATIVE_TTL
            assert result.config.instance_id == tenant
            hears = world.heard_in.get(here) == world.lookups
            self._check(result, newest, own, shared if hears else heard, hears=hears)
        world.lookup_ends()

    def _check(
        self, result: LookupResult, newest: int, own: int, known: Known, *, hears: bool
    ) -> None:
        name, _, number = result.config.r2_bucket.partition("-")
        version, age = int(number), self.world.clock.now - result.cached_at
        assert name == result.config.instance_id
        assert version > max(own, known.invalidated)
        assert 0 <= age < STALE_MAX_AGE
        match result.source:
            case Source.SERVICE:
                assert version >= newest
            case Source.CACHE:
                assert version > known.expired
                assert age < (TTL if hears else NEAR_CACHE_TTL)
            case Source.STALE_CACHE:
                assert hears

    def _check_missing(self, process: int, tenant: str, floor: int) -> None:
        world = self.world
        version, told_at, lookup = world.not_found[tenant]
        assert world.clock.now - told_at < NEGATIVE_TTL
        assert version > floor
        if lookup == world.lookups:  # it was told now, and is no answer from the cache
            gone = max(floor, version - 1)  # that one itself never was
            world.own[process, tenant] = gone
            stored = self.resolvers[process].cache.tiers.shared.peek(tenant).entry
            if stored is not None and stored.document is None:
                with world.acts(process):
                    world.tell(tenant, invalidated=gone)

    @rule(process=processes, tenant=tenants, during_fetch=st.booleans())
    def invalidate(self, process: int, tenant: str, during_fetch: bool) -> None:
        def act() -> None:
            self._invalidate(process, [tenant], self.resolvers[process].cache.invalidate, tenant)

        self._do(act, during_fetch)

    @rule(process=processes, during_fetch=st.booleans())
    def invalidate_all(self, process: int, during_fetch: bool) -> None:
        def act() -> None:
            self._invalidate(process, list(OWNERS), self.resolvers[process].invalidate_all_caches)

        self._do(act, during_fetch)

    def _invalidate(
        self, process: int, names: list[str], verb: Callable[..., object], *args: str
    ) -> None:
        world = self.world
        known = {name: self.world.change(name) for name in names}
        with world.acts(process):
            try:
                verb(*args)
            except CacheError:
                assert world.cut_for[process]
            else:
                for name, version in known.items():
                    world.own[process, name] = version
                    world.tell(name, invalidated=version)

    @rule(process=processes, tenant=tenants, during_fetch=st.booleans())
    def expire(self, process: int, tenant: str, during_fetch: bool) -> None:
        def act() -> None:
            known = self.world.change(tenant)
            with self.world.acts(process):
                try:
                    self.resolvers[process].cache.expire(tenant)
                except CacheError:
                    assert self.world.cut_for[process]
                else:
                    self.world.tell(tenant, expired=known)

        self._do(act, during_fetch)

    @rule(tenant=tenants)
    def change(self, tenant: str) -> None:
        self.world.change(tenant)

    # What passes by itself is met by a lookup at once, or it would mostly pass unseen.
    @rule(process=processes, tenant=tenants, lasting=lookups)
    def delete(self, process: int, tenant: str, lasting: int) -> None:
        self.world.change(tenant)
        self.world.missing_for[tenant] = lasting
        self._resolve_by_owner(process, tenant)

    @rule(process=processes, tenant=tenants, lasting=lookups)
    def refuse(self, process: int, tenant: str, lasting: int) -> None:
        self.world.refuses_for[OWNERS[tenant], tenant] = lasting
        self._resolve_by_owner(process, tenant)

    @rule(process=processes, tenant=tenants, are_old=st.booleans(), lasting=lookups)
    def service_outage(self, process: int, tenant: str, are_old: bool, lasting: int) -> None:
        if are_old:
            self._resolve_by_owner(process, tenant)
            self._pass(TTL + 1)
        self.world.down_for = lasting
        self._resolve_by_owner(process, tenant)

    @rule(process=processes, tenant=tenants, may_read=st.booleans(), lasting=lookups)
    def cache_outage(self, process: int, tenant: str, may_read: bool, lasting: int) -> None:
        self.world.cut_for[process] = lasting
        self.world.may_read[process] = may_read
        self._resolve_by_owner(process, tenant)

    @rule(process=processes, tenant=tenants)
    def cache_outage_noticed_and_over(self, process: int, tenant: str) -> None:
        self.cache_outage(process, tenant, may_read=False, lasting=1)
        self._pass(CACHE_SKIPPED + 1)

    @rule(may_read=st.booleans(), lasting=lookups)
    def cache_outage_for_all(self, may_read: bool, lasting: int) -> None:
        for process in PROCESSES:
            self.world.cut_for[process] = lasting
            self.world.may_read[process] = may_read

    @rule()
    def cache_forgets(self) -> None:
        caches["default"].clear()

    @rule(process=processes, tenant=tenants)
    def slow(self, process: int, tenant: str) -> None:
        self.world.is_slow = True
        self._resolve_by_owner(process, tenant)

    @rule(tenant=tenants, seconds=st.sampled_from([1, 6]))
    def seconds_pass(self, tenant: str, seconds: int) -> None:
        self._pass(seconds)
        for process in PROCESSES:
            self._resolve_by_owner(process, tenant)

    @rule(seconds=st.sampled_from([29, 31, 241, 299, 301, 3299, 3601]))
    def minutes_pass(self, seconds: int) -> None:
        self._pass(seconds)

    def _pass(self, seconds: float) -> None:
        self.world.is_slow = False
        self.world.pool.drain()  # no fetch takes that long
        self.world.clock.now += seconds

    def _do(self, act: Callable[[], None], during_fetch: bool) -> None:
        if during_fetch:
            self.world.meanwhile = act
        else:
            act()


def test_state_machine() -> None:
    """No caller gets an entry that is invalidated, another's, too old, deleted or denied."""
    steps = int(os.environ.get("INSTANCE_LOOKUP_STEPS", str(STEPS)))
    run_state_machine_as_test(
        Lookups,
        settings=profile(
            max_examples=max(1, steps // STEPS_EACH),
            stateful_step_count=STEPS_EACH,
            derandomize=steps <= STEPS,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
