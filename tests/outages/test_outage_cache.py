"""A Redis that fails, in each of the ways a Redis fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from instance_lookup import ConfigServiceUnavailable, InstanceNotFound, Source
from instance_lookup.cache.health import CACHE_SKIPPED
from tests.outages.outages import lines
from tests.outages.redis_outages import (
    TIMEOUT,
    UNWRITABLE,
    Bench,
    Outage,
    any_outage,
    down,
    each_kind,
    hung,
    provide_bench,
    replaced,
)
from tests.support.lookups import TWINS, Twin, acme, asks
from tests.support.waiting import within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.extras, each_kind]


@pytest.fixture
def bench(kind: str, own_redis_server: RedisServer) -> Iterator[Bench]:
    yield from provide_bench(kind, own_redis_server)


@down
@pytest.mark.parametrize("twin", TWINS)
def test_service_answers(outage: Outage, twin: Twin, bench: Bench) -> None:
    """One lookup waits for a short timeout; later lookups skip the cache."""
    bench.resolver.resolve(asks())
    bench.service.instances["acme"] = acme("second")
    with outage(bench.server), within(TIMEOUT):
        first = twin(bench.resolver, "resolve", asks())
        others = [twin(bench.resolver, "resolve", asks()) for _ in range(20)]
    assert first.source is Source.SERVICE
    assert {result.config.r2_bucket for result in [first, *others]} == {"second"}
    assert (bench.calls, bench.errors) == (2, 1)


@down
def test_answers_are_reused(outage: Outage, bench: Bench) -> None:
    """While the cache is down an answer is used again for NEAR_CACHE_TTL."""
    with outage(bench.server):
        for asked in (1, 2, 3):
            for _ in range(10):
                bench.resolver.resolve(asks())
            assert bench.calls == asked
            bench.later.passed += 4


@down
def test_one_prober(outage: Outage, bench: Bench) -> None:
    """Every five seconds one lookup finds out whether the cache is back; the others do not wait."""
    with outage(bench.server), ThreadPoolExecutor(10) as callers:
        bench.resolver.resolve(asks())
        for failures in (2, 3):
            bench.later.passed += CACHE_SKIPPED
            list(callers.map(lambda _: bench.resolver.resolve(asks()), range(30)))
            assert bench.errors == failures
            bench.later.passed += CACHE_SKIPPED - 1
            bench.resolver.resolve(asks())
            assert bench.errors == failures
            bench.later.passed += 1


@pytest.mark.usefixtures("refuses_at_once")
@any_outage
@pytest.mark.parametrize("twin", TWINS)
def test_outage_is_two_lines(
    outage: Outage, twin: Twin, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage logs one line when it begins and one when it ends."""
    twin(bench.resolver, "resolve", asks())
    with outage(bench.server):
        for name in ("acme", "globex", "initech") * 3:
            with suppress(Exception):
                twin(bench.resolver, "resolve", asks(instance_id=name))
            bench.later.passed += CACHE_SKIPPED
        if outage in UNWRITABLE:
            assert len(lines(caplog)) == 1
    for _ in range(3):
        bench.later.passed += CACHE_SKIPPED
        bench.resolver.cache.tiers.forget(None)
        with suppress(Exception):
            twin(bench.resolver, "resolve", asks(instance_id="globex"))
        twin(bench.resolver, "resolve", asks())
    assert len(lines(caplog)) == 2
    assert lines(caplog)[0].startswith("The cache 'instances' failed")
    assert lines(caplog)[1].startswith("The cache 'instances'")
    assert lines(caplog)[1].endswith(" works again.")


@down
def test_recovery(outage: Outage, bench: Bench) -> None:
    """After the outage the cache is used within five seconds, and no wrong value is served."""
    bench.resolver.resolve(asks())
    with outage(bench.server):
        bench.resolver.resolve(asks())
    bench.service.instances["acme"] = acme("second")
    bench.later.passed += CACHE_SKIPPED
    found = [bench.resolver.resolve(asks()) for _ in range(3)]
    if outage is hung:
        assert [result.source for result in found] == [Source.CACHE] * 3
    else:
        assert [result.source for result in found] == [Source.SERVICE, Source.CACHE, Source.CACHE]
        assert {result.config.r2_bucket for result in found} == {"second"}


def test_restarted_empty(bench: Bench) -> None:
    """A Redis that came back empty has unknown generations, so no old entry is served."""
    bench.resolver.resolve(asks())
    bench.server.kill()
    bench.server.start()
    bench.service.instances["acme"] = acme("second")
    assert bench.resolver.resolve(asks()).config.r2_bucket == "second"
    bench.later.passed += CACHE_SKIPPED
    bench.resolver.resolve(asks())
    assert bench.resolver.resolve(asks()).source is Source.CACHE
    assert bench.calls <= 3


@down
@pytest.mark.parametrize("twin", TWINS)
def test_both_down(outage: Outage, twin: Twin, bench: Bench) -> None:
    """With Redis and the service down the answer is 503: a kept copy may be invalidated."""
    bench.resolver.resolve(asks())
    bench.service.failure = ConfigServiceUnavailable("down", reason="status")
    with outage(bench.server):
        for _ in range(2):
            with within(TIMEOUT), pytest.raises(ConfigServiceUnavailable) as caught:
                twin(bench.resolver, "resolve", asks())
            assert caught.value.retry_after == 30
            bench.later.passed += 4


@down
@pytest.mark.parametrize("twin", TWINS)
def test_missing_is_reused(outage: Outage, twin: Twin, bench: Bench) -> None:
    """A 404 is used again for NEAR_CACHE_TTL, as any answer."""
    with outage(bench.server):
        for asked in (1, 2):
            for _ in range(20):
                with pytest.raises(InstanceNotFound):
                    twin(bench.resolver, "resolve", asks(instance_id="nobody"))
            assert bench.calls == asked
            bench.later.passed += 4


@pytest.mark.parametrize("twin", TWINS)
def test_missing_outlives_what_redis_holds(twin: Twin, bench: Bench) -> None:
    """An instance deleted during the outage does not come back with Redis."""
    twin(bench.resolver, "resolve", asks())
    del bench.service.instances["acme"]
    with hung(bench.server), pytest.raises(InstanceNotFound):
        twin(bench.resolver, "resolve", asks())
    for _ in range(2):
        bench.later.passed += CACHE_SKIPPED
        with pytest.raises(InstanceNotFound):
            twin(bench.resolver, "resolve", asks())
    with pytest.raises(InstanceNotFound):
        twin(bench.make(), "resolve", asks())


@down
def test_others_missing_do_not_cost_an_answer(outage: Outage, bench: Bench) -> None:
    """A 404 for one id does not drop the kept answer of another."""

    def meanwhile() -> None:
        with pytest.raises(InstanceNotFound):
            bench.resolver.resolve(asks(instance_id="nobody"))

    with outage(bench.server):
        bench.service.meanwhile = meanwhile
        for _ in range(10):
            bench.resolver.resolve(asks())
    assert bench.calls_for("acme") == 1


REPLIES = {
    "status": b"+OK\r\n",
    "number": b":1\r\n",
    "text": b"$5\r\nhello\r\n",
    "list": b"*4\r\n" + 4 * b"$5\r\nhello\r\n",
    "short list": b"*1\r\n$1\r\n7\r\n",
    "nothing": b"$-1\r\n",
    "error": b"-ERR no\r\n",
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_babble(reply: bytes, bench: Bench) -> None:
    """A well-formed reply to another question is never taken for an answer."""

    def babble(request: bytes) -> bytes:
        greetings = request.count(b"CLIENT") + request.count(b"SELECT")
        return greetings * b"+OK\r\n" or (reply if request else b"")

    bench.resolver.resolve(asks())
    bench.service.instances["acme"] = acme("second")
    with replaced(bench.server, babble), within(TIMEOUT):
        for asked in ("acme", "acme", "acme"):
            assert bench.resolver.resolve(asks(instance_id=asked)).config.r2_bucket == "second"
        with pytest.raises(InstanceNotFound):
            bench.resolver.resolve(asks(instance_id="nobody"))
    assert bench.calls_for("acme") == 2
