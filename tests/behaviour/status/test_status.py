from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

import pytest

from instance_lookup import InstanceResolver
from instance_lookup.operations.condition import (
    RECENT,
    CacheCondition,
    ServiceCondition,
    State,
    SubscriptionCondition,
    judge,
)
from instance_lookup.operations.status import get_status
from tests.behaviour.status.support import cache_down
from tests.support.canary import CANARY
from tests.support.lookups import Service, asks
from tests.support.near import ALIAS, near_caches, near_config
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from tests.behaviour.status.support import Site
    from tests.support.redis_server import RedisServer

NOW = 1_000_000.0


def test_status_unasked(site: Site) -> None:
    """Where nothing was looked up nothing is wrong, and the service is not called up."""
    status = get_status()
    assert (status.state, status.why) == (State.HEALTHY, ())
    assert status.service.up is None
    assert status.hit_ratio is None


def test_status_healthy(site: Site) -> None:
    """After good lookups all is up, with the numbers of the lookups."""
    assert [site.look_up() for _ in range(4)] == ["service", "cache", "cache", "cache"]
    status = get_status(site.resolver)
    assert (status.state, status.service.up, status.cache.up) == (State.HEALTHY, True, True)
    assert status.counters["misses"] == 1
    assert status.hit_ratio == 0.75


def test_status_service_failing(site: Site) -> None:
    """With the service down it says since when, why, and when it is tried again."""
    before = time()
    site.answer(500)
    for number in range(5):
        site.look_up(f"acme-{number}")
    status = get_status()
    service = status.service
    assert status.state is State.DEGRADED
    assert (service.up, service.reason, service.breaker) == (False, "status", "open")
    assert before <= (service.failing_since or 0.0) <= (service.failed_at or 0.0) <= time()
    assert 0 < service.next_try_in <= 10
    assert "500" in (service.last_error or "")


def test_status_service_back(site: Site) -> None:
    """The next answer makes it healthy, and is noted."""
    site.answer(500)
    site.look_up()
    assert get_status().state is State.DEGRADED
    before = time()
    site.answer()
    site.resolver.refresh("acme")
    status = get_status()
    assert (status.state, status.service.up, status.service.failing_since) == (
        "healthy",
        True,
        None,
    )
    assert (status.service.answered_at or 0.0) >= before


def test_status_failing_document(site: Site) -> None:
    """A document that cannot be used is counted; it does not take the service down."""
    assert site.look_up("globex") == "CONFIG_SERVICE_UNAVAILABLE"  # the document of another id
    status = get_status()
    assert (status.state, status.service.failing_documents) == (State.HEALTHY, 1)


def test_status_everything_gone(site: Site) -> None:
    """A service that denies all copies fails, and says so."""
    site.resolver.service_health.service_failed("everything_gone", "instance 'acme'", "gone")
    assert (get_status().service.up, get_status().service.reason) == (False, "everything_gone")


def test_status_of_a_bug(site: Site) -> None:
    """The message of a bug is for the log: it may hold anything."""
    line = f"KeyError: {CANARY}"
    bug = KeyError(CANARY)
    site.resolver.service_health.service_failed("KeyError", "instance 'acme'", line, bug=bug)
    service = get_status().service
    assert service.reason == "KeyError"
    assert (service.last_error or "").endswith(": a bug, see the log.")


def test_status_cache_down(site: Site) -> None:
    """With the cache down it is degraded: the service is asked."""
    with cache_down():
        assert site.look_up() == "service"
        status = get_status()
    assert (status.state, status.cache.up) == (State.DEGRADED, False)
    assert 0 < status.cache.skipped_for <= 5
    assert status.cache.failing_since is not None
    assert status.why == ("The cache is down: the Config Service is asked instead.",)


def test_status_cache_read_only(site: Site) -> None:
    """A cache that takes no values is not down, and it is said."""
    site.resolver.cache.tiers.health.unwritable(OSError(), began=float("inf"))
    status = get_status()
    assert (status.cache.up, status.cache.writable) == (True, False)
    assert status.why == ("The cache can be read, but not written.",)


def test_status_both_down(site: Site) -> None:
    """With both down there is nothing to serve: unhealthy."""
    site.answer(500)
    with cache_down():
        assert site.look_up() == "CONFIG_SERVICE_UNAVAILABLE"
        assert get_status().state is State.UNHEALTHY


def judged(seconds: float, *, seen: float = 0.0, copies_last: float = 3600.0) -> State:
    """Return the state where the service fails for ``seconds``, and was ``seen`` to so long ago."""
    service = ServiceCondition(
        up=False, reason="timeout", failing_since=NOW - seconds, failed_at=NOW - seen
    )
    parts = (service, CacheCondition(), SubscriptionCondition())
    return judge(*parts, now=NOW, copies_last=copies_last)[0]


def test_judge_copies_run_out() -> None:
    """Once the service has failed for as long as any copy is served, it is unhealthy."""
    assert judged(3599) is State.DEGRADED
    assert judged(3600) is State.UNHEALTHY


def test_judge_without_stale_copies(site: Site, settings: Settings) -> None:
    """Where no stale copy is ever served, a failing service is unhealthy at once."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "USE_STALE_ON_ERROR": False}
    site.answer(500)
    site.look_up()
    assert get_status().state is State.UNHEALTHY


def test_judge_old_failure() -> None:
    """A process that gets no request is not unhealthy for ever: it could not find out."""
    assert judged(7200, seen=RECENT - 1) is State.UNHEALTHY
    assert judged(7200, seen=RECENT) is State.DEGRADED


@pytest.mark.parametrize(
    ("subscription", "said"),
    [
        (SubscriptionCondition(state="deaf"), "not heard"),
        (SubscriptionCondition(state="heard", can_publish=False), "cannot be published"),
    ],
)
def test_judge_subscription(subscription: SubscriptionCondition, said: str) -> None:
    """A process that does not hear of invalidations, or cannot tell of them, is degraded."""
    state, why = judge(
        ServiceCondition(), CacheCondition(), subscription, now=NOW, copies_last=3600.0
    )
    assert state is State.DEGRADED
    assert said in why[0]


@pytest.mark.extras
def test_status_subscription(own_redis_server: RedisServer) -> None:
    """It says whether invalidations are heard, and since when they are not."""
    with near_caches(**{ALIAS: near_config("redis", own_redis_server.url())}):
        resolver = InstanceResolver(
            cache_alias=ALIAS, config_service_backend=Service(), near_cache_size=None
        )
        assert get_status(resolver).subscription.state == "not_used"
        resolver.resolve(asks())
        wait_until(lambda: get_status(resolver).subscription.state == "heard")
        own_redis_server.stop()
        wait_until(lambda: get_status(resolver).subscription.state == "deaf")
        status = get_status(resolver)
        assert status.state is State.DEGRADED
        assert time() - (status.subscription.deaf_since or 0.0) < 60


def test_status_shows_no_secret(site: Site, settings: Settings) -> None:
    """Neither the password of the proxy nor what errors say of keys is in a status."""
    settings.INSTANCE_LOOKUP = {
        **settings.INSTANCE_LOOKUP,
        "CONFIG_SERVICE_PROXY": f"http://user:{CANARY}@127.0.0.1:9/",
        "CONFIG_SERVICE_TOKEN": CANARY,
    }
    with cache_down():
        site.look_up()
        status = get_status()
    assert status.service.last_error
    assert CANARY not in repr(status) + repr(status.as_dict())
