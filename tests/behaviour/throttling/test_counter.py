"""How many calls are let through: by token buckets on Redis, by windows on every other cache."""

from __future__ import annotations

import asyncio
import math
import threading
from struct import Struct
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import RateLimit
from instance_lookup.cache.keys import throttle_key
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.concurrency.pools import in_executor
from instance_lookup.throttling import buckets, windows
from instance_lookup.throttling.counter import Counter, get_counter
from instance_lookup.throttling.limits import standing_of
from tests.support.caches import KINDS, use_cache
from tests.support.throttles import let_through, standing, taken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.memcached_server import MemcachedServer
    from tests.support.redis_server import RedisServer
    from tests.support.throttles import ServerClock

DAY = 86_400
KEPT = Struct("<ddd")
KEY = throttle_key("render", "acme")
ON_REDIS = pytest.mark.parametrize("cache_kind", ["redis", "django-redis"])
EXACT = pytest.mark.parametrize("cache_kind", ["locmem", "redis", "django-redis"])
SLOW = RateLimit(rpm=1, rpm_burst=100)
"""In the time that a test takes, nothing flows into its bucket that it could notice."""


@pytest.fixture
def counter(cache_alias: str) -> Counter:
    return get_counter(cache_alias)


@pytest.fixture
def on_memcached(memcached_server: MemcachedServer) -> Iterator[Counter]:
    with use_cache("pymemcache", memcached=memcached_server.location) as alias:
        yield get_counter(alias)


def kept(alias: str) -> tuple[float, float, float]:
    """Return what is in the bucket, when that was counted, and the calls of the day."""
    level, at, today = KEPT.unpack(raw(alias, "GET", KEY))
    return level / 60_000_000, at / 1_000_000, today


def set_back(alias: str, seconds: float) -> None:
    """Have so much time pass for the bucket: as if its server's clock had moved on."""
    level, at, today = KEPT.unpack(raw(alias, "GET", KEY))
    raw(alias, "SET", KEY, KEPT.pack(level, at - seconds * 1_000_000, today))


def raw(alias: str, command: str, key: str, *words: Any) -> Any:
    cache: Any = key_values[alias]
    return cache._execute(command, cache.place(key), *words)


def raced(counter: Counter, limit: RateLimit, calls: int) -> int:
    """Make the calls in threads and coroutines, all at once; return how many are let through."""
    barrier, done = threading.Barrier(21), []

    def work() -> None:
        barrier.wait(30)
        done.append(taken(counter, limit, calls // 40))

    async def await_all() -> None:
        barrier.wait(30)
        each = (in_executor(let_through, counter, limit) for _ in range(calls // 2))
        done.extend(await asyncio.gather(*each))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    asyncio.run(await_all())
    for thread in threads:
        thread.join(60)
    return sum(done)


@EXACT
def test_thousand_calls_at_once(cache_kind: str, counter: Counter) -> None:
    """Exactly as many as the limit allows are let through."""
    assert raced(counter, SLOW, 1_000) == 100


@pytest.mark.extras
def test_thousand_calls_at_once_on_memcached(on_memcached: Counter) -> None:
    assert raced(on_memcached, SLOW, 1_000) == 100


@pytest.mark.parametrize("cache_kind", ["locmem", "redis"])
def test_thousand_calls_of_a_day(cache_kind: str, counter: Counter) -> None:
    limit = RateLimit(rpm=100_000, daily=150)
    assert raced(counter, limit, 1_000) == 150


@pytest.mark.parametrize("cache_kind", KINDS)
def test_limits_on_each_cache(
    cache_kind: str, counter: Counter, clock: ServerClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Instances do not share, names do not share, and a cache that loses calls is named once."""
    limit = RateLimit(rpm=1, rpm_burst=3, daily=10)
    assert taken(counter, limit, 5) == 3
    assert taken(counter, limit, 5, instance_id="globex") == 3
    assert counter.count("upload", "acme", limit, fail_open=True).left == 2  # type: ignore[union-attr]
    lossy = [each.getMessage() for each in caplog.records if "loses some" in each.getMessage()]
    assert len(lossy) == (cache_kind in {"db", "filebased"})


@pytest.mark.extras
def test_limits_on_memcached(on_memcached: Counter, clock: ServerClock) -> None:
    limit = RateLimit(rpm=1, rpm_burst=3, daily=4)
    assert taken(on_memcached, limit, 5) == 3
    clock.now += 180
    assert taken(on_memcached, limit, 5) == 1
    assert taken(on_memcached, RateLimit(rpm=1, rpm_burst=10**8), 1, instance_id="long" * 40) == 1


@ON_REDIS
def test_bucket_fills_at_rpm(cache_kind: str, cache_alias: str, counter: Counter) -> None:
    """12 at once, then one in ten seconds, and after two minutes 12 at once again."""
    limit = RateLimit(rpm=6, rpm_burst=12)
    assert taken(counter, limit, 13) == 12
    set_back(cache_alias, 2)
    refused = standing(counter, limit)
    assert 0 < refused.wait <= 8
    assert refused.left == 0
    assert refused.more_in == refused.wait
    set_back(cache_alias, 30)
    assert taken(counter, limit, 9) == 3
    set_back(cache_alias, 120)
    assert standing(counter, limit).left == 11


@ON_REDIS
def test_header_says_when_there_is_more(
    cache_kind: str, cache_alias: str, counter: Counter
) -> None:
    """Never later than ``Retry-After``, as the draft wants it: a bucket has its next call then."""
    limit = RateLimit(rpm=6, rpm_burst=12, daily=12)
    assert standing_of("render", standing(counter, limit)).startswith('"render";r=11;t=10,')
    assert taken(counter, limit, 11) == 11
    refused = standing(counter, RateLimit(rpm=6, rpm_burst=12))
    assert standing_of("render", refused) == f'"render";r=0;t={math.ceil(refused.wait)}'
    set_back(cache_alias, 120)
    assert standing_of("render", standing(counter, limit)).startswith('"render";r=12;t=0,')


@ON_REDIS
def test_burst_smaller_than_the_rate(cache_kind: str, cache_alias: str, counter: Counter) -> None:
    """600 a minute, but no more than two at once: one each tenth of a second."""
    limit = RateLimit(rpm=600, rpm_burst=2)
    set_now = standing(counter, limit)
    assert set_now.left == 1
    level, _, _ = kept(cache_alias)
    assert 1 <= level < 2
    set_back(cache_alias, 0.1)
    assert standing(counter, limit).left == 1


@ON_REDIS
def test_refused_call_takes_nothing(cache_kind: str, cache_alias: str, counter: Counter) -> None:
    limit = RateLimit(rpm=1, rpm_burst=1, daily=5)
    assert let_through(counter, limit)
    before = kept(cache_alias)
    assert taken(counter, limit, 5) == 0
    assert kept(cache_alias) == before
    assert before[2] == 1


@ON_REDIS
def test_day_is_over(cache_kind: str, cache_alias: str, counter: Counter) -> None:
    """Calls of yesterday do not count; those of today do, however full the bucket is."""
    limit = RateLimit(rpm=1, rpm_burst=100, daily=2)
    assert taken(counter, limit, 3) == 2
    refused = standing(counter, limit)
    assert refused.wait == refused.day_left
    assert refused.left_today == 0
    assert refused.left == 98
    set_back(cache_alias, DAY)
    assert standing(counter, limit).left_today == 1


@ON_REDIS
def test_clock_of_the_server_is_set(cache_kind: str, cache_alias: str, counter: Counter) -> None:
    """Set back by an hour it neither fills the bucket nor keeps it from filling from then on."""
    limit = RateLimit(rpm=1, rpm_burst=2)
    assert taken(counter, limit, 3) == 2
    set_back(cache_alias, -3600)
    ahead = kept(cache_alias)[1]
    assert not let_through(counter, limit)
    assert ahead - kept(cache_alias)[1] > 3000
    set_back(cache_alias, 90)
    assert taken(counter, limit, 2) == 1


@ON_REDIS
def test_key_is_under_the_prefix_and_ends(
    cache_kind: str, cache_alias: str, counter: Counter
) -> None:
    """It lives until the bucket is full and the day is over."""
    day_left = standing(counter, RateLimit(rpm=60)).day_left
    place = key_values[cache_alias].place(KEY)
    assert place.startswith(b"tests-")
    assert place.endswith(b":1:instance_throttle:acme:render")
    assert day_left - 5 <= raw(cache_alias, "TTL", KEY) <= day_left + 1
    assert taken(counter, RateLimit(rpm=1, rpm_burst=10_000), 1) == 1
    assert raw(cache_alias, "TTL", KEY) > DAY


@ON_REDIS
def test_changed_limit_holds_at_once(cache_kind: str, counter: Counter) -> None:
    """A smaller bucket holds less; a larger one fills from what there is."""
    assert standing(counter, RateLimit(rpm=1, rpm_burst=100)).left == 99
    assert standing(counter, RateLimit(rpm=1, rpm_burst=10)).left == 9
    assert standing(counter, RateLimit(rpm=1, rpm_burst=100)).left == 8


@ON_REDIS
def test_largest_limit_is_exact(cache_kind: str, cache_alias: str, counter: Counter) -> None:
    """Its numbers are below 2**53, where those of a script are exact."""
    most = 100_000_000
    limit = RateLimit(rpm=1, rpm_burst=most, daily=10_000 * most)
    assert [standing(counter, limit).left for _ in range(3)] == [most - 1, most - 2, most - 3]
    assert kept(cache_alias)[2] == 3


@ON_REDIS
@pytest.mark.parametrize("value", [b"", b"7", b"x" * 24 + b"no"])
def test_foreign_value_is_none(
    cache_kind: str, cache_alias: str, counter: Counter, value: bytes
) -> None:
    raw(cache_alias, "SET", KEY, value)
    assert standing(counter, RateLimit(rpm=1, rpm_burst=9)).left == 8


@ON_REDIS
def test_server_forgets_its_scripts(
    cache_kind: str, counter: Counter, redis_server: RedisServer
) -> None:
    limit = RateLimit(rpm=1, rpm_burst=3)
    assert let_through(counter, limit)
    redis_server.command("SCRIPT", "FLUSH")
    assert taken(counter, limit, 3) == 2


def test_client_that_decodes(redis_server: RedisServer) -> None:
    """The count is packed bytes, whatever an alias has its client make of answers."""
    with use_cache("redis", redis_url=redis_server.url(), decode_responses=True) as alias:
        assert taken(get_counter(alias), RateLimit(rpm=1, rpm_burst=200), 201) == 200


@pytest.mark.parametrize("cache_kind", ["locmem"])
def test_window_is_as_long_as_a_bucket_fills(
    cache_kind: str, counter: Counter, clock: ServerClock
) -> None:
    """As many in the long run, as many at once, and twice as many at its edge."""
    limit = RateLimit(rpm=60, rpm_burst=90)
    clock.now -= clock.now % 90
    clock.now += 89
    assert taken(counter, limit, 100) == 90
    assert standing(counter, limit).wait == 1
    clock.now += 1
    assert taken(counter, limit, 100) == 90
    refused = standing(counter, limit)
    assert (refused.wait, refused.left, refused.more_in) == (90, 0, 90)


@pytest.mark.parametrize("cache_kind", ["locmem"])
def test_refused_call_does_not_count_for_the_day(
    cache_kind: str, counter: Counter, clock: ServerClock
) -> None:
    limit = RateLimit(rpm=2, daily=3)
    assert taken(counter, limit, 9) == 2
    assert standing(counter, limit) == (60, 0, 60, 1, 57_600)
    clock.now += 60
    assert standing(counter, limit) == (0, 1, 60, 0, 57_540)
    assert standing(counter, limit) == (57_540, 1, 60, 0, 57_540)
    assert standing(counter, limit) == (57_540, 1, 60, 0, 57_540)
    clock.now += 57_540
    assert standing(counter, limit) == (0, 1, 60, 2, DAY)


def test_two_ways_to_count_agree_where_they_can(
    redis_server: RedisServer, clock: ServerClock
) -> None:
    """A full bucket and the first window let the same calls through."""
    limits = [RateLimit(7), RateLimit(7, 3), RateLimit(7, 30), RateLimit(9, None, 4)]
    with (
        use_cache("redis", alias="one", redis_url=redis_server.url()),
        use_cache("locmem", alias="other"),
    ):
        for number, limit in enumerate(limits):
            key = throttle_key("render", f"acme{number}")
            on_redis: Any = key_values["one"]
            one = [not buckets.count(on_redis, key, limit).wait for _ in range(40)]
            other = key_values["other"]
            assert one == [not windows.count(other, key, limit, 0.0).wait for _ in range(40)]


def test_names_and_ids_do_not_meet() -> None:
    """An id may hold what stands between it and the name, and be longer than a key may be."""
    pairs = [("c", "a:b"), ("b:c", "a"), ("c", "\ud800"), ("c", "x" * 300), ("c", "x" * 301)]
    keys = {throttle_key(name, instance_id) for name, instance_id in pairs}
    assert len(keys) == 5
    assert max(map(len, keys)) < 200
