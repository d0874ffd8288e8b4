"""A Redis that can be read and not be written: a replica, or one that is full."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from instance_lookup import Source
from instance_lookup.cache.health import CACHE_SKIPPED
from tests.outages.redis_outages import Bench, Outage, each_kind, hung, provide_bench, unwritable
from tests.support.lookups import Clock, acme, asks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.extras, each_kind, pytest.mark.usefixtures("refuses_at_once")]


@pytest.fixture
def bench(kind: str, own_redis_server: RedisServer) -> Iterator[Bench]:
    yield from provide_bench(kind, own_redis_server)


@unwritable
def test_unwritable_cache_is_read(outage: Outage, bench: Bench) -> None:
    """A cache that cannot be written is still read, also after a store has failed."""
    bench.resolver.resolve(asks())
    bench.service.instances["globex"] = acme("other", instance_id="globex")
    with outage(bench.server):
        assert bench.resolver.resolve(asks(instance_id="globex")).source is Source.SERVICE
        assert bench.resolver.resolve(asks()).source is Source.CACHE
    assert bench.calls == 2


@unwritable
@pytest.mark.parametrize("known", [True, False], ids=["stale", "unknown"])
def test_answers_not_stored_are_reused(
    outage: Outage, known: bool, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that cannot be stored is used again for NEAR_CACHE_TTL."""
    clock = Clock(monkeypatch)
    if known:
        bench.resolver.resolve(asks())
        clock.now += 300
    before = bench.calls
    with outage(bench.server):
        for asked in (1, 2, 3):
            for _ in range(10):
                assert bench.resolver.resolve(asks()).source is not Source.STALE_CACHE
            assert bench.calls - before == asked
            bench.later.passed += 4


@unwritable
def test_answer_not_stored_is_invalidated_elsewhere(
    outage: Outage, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept answer is dropped by another process's invalidation once that can be written."""
    clock = Clock(monkeypatch)
    bench.resolver.resolve(asks())
    clock.now += 300
    with outage(bench.server):
        bench.resolver.resolve(asks())
    bench.service.instances["acme"] = acme("second")
    bench.make().invalidate_cache("acme")
    assert bench.resolver.resolve(asks()).config.r2_bucket == "second"


@unwritable
def test_back_but_unwritable(outage: Outage, bench: Bench) -> None:
    """A cache that is back but cannot be written is read again."""
    bench.resolver.resolve(asks())
    with hung(bench.server):
        bench.resolver.resolve(asks())
    calls = bench.calls_for("acme")
    with outage(bench.server):
        for number in range(3):
            name = f"new{number}"
            bench.service.instances[name] = acme("new", instance_id=name)
            bench.later.passed += CACHE_SKIPPED
            assert bench.resolver.resolve(asks(instance_id=name)).source is Source.SERVICE
            assert bench.resolver.resolve(asks()).source is Source.CACHE
    assert bench.calls_for("acme") == calls
