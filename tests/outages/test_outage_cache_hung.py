"""A Redis that hangs in the middle of a lookup, and one whose client hides the error."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

import pytest

from instance_lookup import CacheError, Source
from instance_lookup.cache.health import CACHE_SKIPPED
from instance_lookup.testing import faulty_cache
from tests.outages.outages import lines
from tests.outages.redis_outages import TIMEOUT, Bench, Outage, down, each_kind, provide_bench
from tests.support.lookups import TWINS, Twin, acme, asks
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

    from instance_lookup.testing import CacheFaults
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.extras

POINTS = {
    "read": ("get_many", 1),
    "new generation": ("add", 1),
    "lease": ("add", 3),
    "second look": ("get_many", 2),
    "write": ("set", 1),
    "touch": ("touch", 1),
    "release": ("delete", 1),
}
"""What a lookup of an id unknown so far asks of the cache, and the how-manieth of its kind."""


@pytest.fixture
def bench(kind: str, own_redis_server: RedisServer) -> Iterator[Bench]:
    yield from provide_bench(kind, own_redis_server)


@pytest.fixture
def faults(bench: Bench) -> Iterator[CacheFaults]:
    """Notes each command that is sent to Redis, and can make it fail."""
    with faulty_cache(bench.alias) as faults:
        yield faults


@contextmanager
def hung_from(
    verb: str, count: int, server: RedisServer, faults: CacheFaults, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """Hang when asked for ``verb`` that often; yield what was asked of it in vain."""
    vain: list[str] = []
    strike, before = faults.strike, len(faults.calls)

    def strike_or_hang(now: str) -> None:
        strike(now)
        if not vain and faults.calls[before:].count(verb) == count:
            server.pause()
        elif not vain:
            return
        vain.append(now)

    with monkeypatch.context() as patch:
        patch.setattr(faults, "strike", strike_or_hang)
        try:
            yield vain
        finally:
            server.resume()


@each_kind
@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
def test_hung_in_the_middle(
    point: tuple[str, int],
    bench: Bench,
    faults: CacheFaults,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Redis that hangs at any point of a lookup costs one timeout: nothing more is tried."""
    with (
        hung_from(*point, bench.server, faults, monkeypatch) as vain,
        within(TIMEOUT),
    ):
        found = [bench.resolver.resolve(asks()) for _ in range(10)]
    assert vain == [point[0]]
    assert found[0].source is Source.SERVICE
    # Where Redis took it before it hung, the process has not kept it, and asks once more.
    assert bench.calls == (2 if point == POINTS["release"] else 1)


@each_kind
def test_hung_for_a_follower(
    bench: Bench, faults: CacheFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that waits for another process's answer is held up for one timeout at most."""
    release, leader = Event(), bench.make()
    bench.service.meanwhile = lambda: release.wait(10)
    with ThreadPoolExecutor(1) as callers:
        first = callers.submit(leader.resolve, asks())
        try:
            wait_until(lambda: bench.calls)
            with hung_from("get", 1, bench.server, faults, monkeypatch) as vain:
                with within(TIMEOUT):
                    bench.resolver.resolve(asks())
                assert vain == ["get"]
        finally:
            release.set()
        assert first.result().source is Source.SERVICE
    assert bench.calls == 2


@pytest.fixture
def _swallowing(settings: Settings) -> None:
    settings.DJANGO_REDIS_IGNORE_EXCEPTIONS = True


swallowing = pytest.mark.usefixtures("_swallowing")
only_django_redis = pytest.mark.parametrize("kind", ["django-redis"])


@swallowing
@only_django_redis
@down
@pytest.mark.parametrize("twin", TWINS)
def test_swallowed_failures_are_an_outage(
    outage: Outage, twin: Twin, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Failures that the client hides are noticed: one lookup waits, two lines are logged."""
    twin(bench.resolver, "resolve", asks())
    bench.service.instances["acme"] = acme("second")
    with outage(bench.server), within(TIMEOUT):
        found = [twin(bench.resolver, "resolve", asks()) for _ in range(20)]
    assert {result.config.r2_bucket for result in found} == {"second"}
    assert (bench.calls, bench.errors, len(lines(caplog))) == (2, 1, 1)
    bench.later.passed += CACHE_SKIPPED
    twin(bench.resolver, "resolve", asks())
    assert twin(bench.resolver, "resolve", asks()).source is Source.CACHE
    assert len(lines(caplog)) == 2


@swallowing
@only_django_redis
@down
def test_swallowed_invalidation(outage: Outage, bench: Bench) -> None:
    """An invalidation whose failure the client hides raises, and nothing older is served."""
    bench.resolver.resolve(asks())
    bench.service.instances["acme"] = acme("second")
    with outage(bench.server):
        with pytest.raises(CacheError):
            bench.resolver.invalidate_cache("acme")
        assert bench.resolver.resolve(asks()).config.r2_bucket == "second"
