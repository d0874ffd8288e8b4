"""Two processes on one cache and one service, without threads, and what each of them knows."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import Future
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from django.core.cache import caches
from django.test import override_settings

from instance_lookup import AccessDenied, ConfigServiceUnavailable, InstanceResolver
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.resilience.backoff import Backoff
from instance_lookup.resilience.breaker import Breaker
from instance_lookup.resilience.expiring import Expiring
from tests.support.lookups import Clock, HookedCache, hooked_caches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instance_lookup.backends.base import Document, NotModified, Query

OWNERS = {"acme": "olga", "beta": "bob"}
PROCESSES = (0, 1)
TTL, STALE_MAX_AGE, NEGATIVE_TTL, BREAKER_RESET, CACHE_SKIPPED = 300, 3600, 30, 10, 5
NEAR_CACHE_TTL = 60
"""Longer than a cache that failed is skipped, so that there is something left to forget by then."""
NEVER = float("-inf")


class Known(NamedTuple):
    """Up to which version of a tenant nothing may be served, or nothing as fresh."""

    invalidated: int = 0
    expired: int = 0


class ManualPool:
    """A pool whose jobs run when a caller waits for them, unless they are meant to take longer."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.jobs: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., None], *args: Any, **lane: Any) -> Future[None]:
        process = self.world.acting
        future: Future[None] = Future()

        def job() -> None:
            with self.world.acts(process, is_looking=True):
                fn(*args)
            future.set_result(None)

        self.jobs.append(job)
        return future

    def drain(self) -> None:
        while self.jobs:
            self.jobs.pop(0)()

    def wait(self, futures: list[Future[Any]], seconds: float) -> tuple[set[Future[Any]], None]:
        if not self.world.is_slow:
            self.drain()
        return {future for future in futures if future.done()}, None


class World:
    """What both processes share. Each fault lasts for a number of lookups."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.pool = ManualPool(self)
        self.acting: int | None = None
        """The process whose code runs; ``None``: the test's own."""
        self.is_looking = False
        """Whether that code is a lookup's: a process that invalidates does not listen."""
        self.is_slow = False
        self.down_for = 0
        self.cut_for = dict.fromkeys(PROCESSES, 0)
        """How long a process does not reach the cache."""
        self.may_read = dict.fromkeys(PROCESSES, False)
        """Whether it still reads it."""
        self.is_alone = dict.fromkeys(PROCESSES, False)
        """Whether it failed to read it since it last did."""
        self.meanwhile: Callable[[], object] | None = None

        self.last = dict.fromkeys(OWNERS, 1)
        """The newest version of each tenant that there ever was."""
        self.missing_for = dict.fromkeys(OWNERS, 0)
        self.refuses_for: dict[tuple[str | None, str], int] = defaultdict(int)

        self.failed_at = dict.fromkeys(PROCESSES, NEVER)
        self.refused_at: dict[tuple[int, str | None, str], float] = {}
        self.not_found: dict[str, tuple[int, float, int]] = {}
        """Of the last 404: which version there is none of, when it was told, in which lookup."""

        self.shared: dict[str, Known] = defaultdict(Known)
        """What the cache was told, by any process."""
        self.heard: dict[tuple[int, str], Known] = defaultdict(Known)
        """What of that a process has read."""
        self.own: dict[tuple[int, str], int] = defaultdict(int)
        """Up to which version it invalidated itself, or was told that there is none."""
        self.lookups = 0
        self.heard_in: dict[tuple[int, str], int] = {}
        """In which lookup that was."""

    @contextmanager
    def acts(self, process: int | None, *, is_looking: bool = False) -> Iterator[None]:
        """Have what is done now done by a process."""
        before = self.acting, self.is_looking
        self.acting, self.is_looking = process, is_looking
        try:
            yield
        finally:
            self.acting, self.is_looking = before

    def hook(self, verb: str, key: str) -> None:
        """Fail where the process is cut off, else note what it reads of others' invalidations."""
        if self.acting is None:
            return
        if self.cut_for[self.acting] and not (verb == "get" and self.may_read[self.acting]):
            self.is_alone[self.acting] |= verb == "get"
            raise OSError("down")
        name, _, tenant = key.partition(":")
        # The last of what a lookup reads. Where the generations are absent and cannot be made, it
        # has heard nothing: that is "unknown", as in an outage.
        is_last = name == "instance_expiry" and verb == "get"
        if self.is_looking and is_last and self._tells(tenant):
            # After an outage a process forgets all that it kept, not only what it asks for now.
            for name in OWNERS if self.is_alone[self.acting] else [tenant]:
                self.heard[self.acting, name] = self.shared[name]
            self.is_alone[self.acting] = False
            self.heard_in[self.acting, tenant] = self.lookups

    def _tells(self, tenant: str) -> bool:
        assert self.acting is not None
        keys = ["instance_generation", f"instance_generation:{tenant}"]
        writes = not self.cut_for[self.acting]
        with self.acts(None):
            return writes or len(caches["default"].get_many(keys)) == len(keys)

    def tell(self, tenant: str, **known: int) -> None:
        """Note what the cache took from the acting process."""
        assert self.acting is not None
        self.shared[tenant] = self.shared[tenant]._replace(**known)
        mine = self.acting, tenant
        self.heard[mine] = self.heard[mine]._replace(**known)

    def lookup_ends(self) -> None:
        """Let faults pass."""
        self.down_for = max(0, self.down_for - 1)
        for faults in (self.cut_for, self.refuses_for, self.missing_for):
            _count_down(faults)
        if self.is_slow:
            self.is_slow = False
            self.pool.drain()

    def change(self, tenant: str) -> int:
        """Have a new version, which is what there is or that there is none; return the last one."""
        self.last[tenant] += 1
        return self.last[tenant] - 1


def _count_down(faults: dict[Any, int]) -> None:
    for name, lookups in faults.items():
        faults[name] = max(0, lookups - 1)


class Backend(DictConfigService):
    """The service as one process sees it."""

    def __init__(self, world: World, process: int) -> None:
        super().__init__()
        self.world, self.process = world, process

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        world, now = self.world, self.world.clock.now
        if world.down_for:
            world.failed_at[self.process] = now
            raise ConfigServiceUnavailable("down", reason="status")
        if world.refuses_for[query.user_id, instance_id]:
            world.refused_at[self.process, query.user_id, instance_id] = now
            raise AccessDenied("no")
        self.instances = {
            tenant: {"r2_bucket": f"{tenant}-{world.last[tenant]}", "metadata": {"owner": owner}}
            for tenant, owner in OWNERS.items()
            if not world.missing_for[tenant]
        }
        if world.missing_for[instance_id]:
            world.not_found[instance_id] = world.last[instance_id], now, world.lookups
        try:
            return super().get_instance(instance_id, query)
        finally:
            act, world.meanwhile = world.meanwhile, None
            if act is not None:
                act()


@contextmanager
def two_processes() -> Iterator[tuple[World, list[InstanceResolver]]]:
    """Yield a world and a resolver for each process, all on one clock that is set by hand."""
    with pytest.MonkeyPatch.context() as patch, override_settings(CACHES=hooked_caches()):
        clock = Clock(patch)
        world = World(clock)
        ticks = SimpleNamespace(time=lambda: clock.now)
        for module in ("locmem", "base"):
            patch.setattr(f"django.core.cache.backends.{module}.time", ticks)
        for kind in (Expiring, Backoff, Breaker):
            defaults: Any = kind.__init__.__kwdefaults__
            patch.setitem(defaults, "clock", ticks.time)
        patch.setattr("instance_lookup.concurrency.pools.flights", world.pool)
        patch.setattr("instance_lookup.concurrency.steps.wait", world.pool.wait)
        patch.setattr(HookedCache, "hook", staticmethod(world.hook))
        resolvers = [
            InstanceResolver(
                config_service_backend=Backend(world, process),
                cache_ttl=TTL,
                stale_max_age=STALE_MAX_AGE,
                negative_ttl=NEGATIVE_TTL,
                near_cache_ttl=NEAR_CACHE_TTL,
                breaker_failures=4,
                breaker_reset=BREAKER_RESET,
            )
            for process in PROCESSES
        ]
        yield world, resolvers
        world.meanwhile = None
        world.pool.drain()
        caches["default"].clear()
