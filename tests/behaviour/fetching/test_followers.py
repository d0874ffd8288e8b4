"""Callers that wait for another caller's fetch get their own answer, refusal and deadline."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from django.core.cache import caches

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceResolver,
    LookupResult,
    LookupUser,
    Source,
)
from instance_lookup.access import IsAdmin
from instance_lookup.cache.keys import lease_key
from instance_lookup.cache.kinds import instance_kind
from instance_lookup.types import InstanceConfig
from tests.outages.crowds import CROWDS, GOOD, LONG, resolver_on, shared_cache, waiting, when
from tests.outages.fleet import caller
from tests.support.lookups import OLGA, SAM, asks
from tests.support.monotonic import Monotonic
from tests.support.servers import Answer, ScriptedServer, mute
from tests.support.waiting import SLACK, wait_until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from instance_lookup import LookupContext
    from tests.outages.crowds import Told
    from tests.support.servers import Received, Script

    Crowd = Callable[[InstanceResolver, Sequence[LookupContext]], list[Told]]

MALLORY = LookupUser("mallory", roles=("admin",))
OTHERS = [LookupUser(f"user-{number}", roles=("admin",)) for number in range(40)]
FORBIDDEN = Answer(403)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(GOOD) as server:
        yield server


@pytest.fixture
def alias(request: pytest.FixtureRequest) -> Iterator[str]:
    with shared_cache("locmem", request) as alias:
        yield alias


@pytest.fixture
def resolver(server: ScriptedServer, alias: str) -> Iterator[InstanceResolver]:
    with resolver_on(server, alias) as resolver:
        yield resolver


def refusing(other: Callable[[Received], Script]) -> Callable[[Received], Script]:
    """Return a script that refuses Mallory, and does what ``other`` says for the rest."""

    def script(request: Received) -> Script:
        return FORBIDDEN if request.headers["X-User-ID"] == "mallory" else other(request)

    return script


def led_by(
    resolver: InstanceResolver, server: ScriptedServer, leader: LookupUser
) -> ThreadPoolExecutor:
    """Start a lookup of ``leader``; return its pool once the service has the request."""
    pool = ThreadPoolExecutor(1)
    pool.submit(resolver.resolve, asks(leader))
    wait_until(lambda: server.received)
    return pool


@pytest.mark.parametrize("crowd", CROWDS)
def test_refusal_of_the_leader_is_his_alone(
    server: ScriptedServer, resolver: InstanceResolver, crowd: Crowd
) -> None:
    """Forty-one users, one refused: the others ask for themselves, all at the same time."""
    everybody_waits = waiting(resolver, 41)
    all_at_once = threading.Barrier(40, timeout=LONG)

    def others(request: Received) -> Script:
        all_at_once.wait()
        return Answer(200, GOOD.body, delay=1.0)

    def script(request: Received) -> Script:
        if len(server.received) == 1:
            wait_until(everybody_waits, LONG)
            moments.append(monotonic())
        return refusing(others)(request)

    moments: list[float] = []
    server.answers = script
    with led_by(resolver, server, MALLORY):
        told = crowd(resolver, [asks(user) for user in OTHERS])
        took = monotonic() - moments[0]
    assert [type(answer) for answer in told] == [LookupResult] * 40
    asked = sorted(request.headers["X-User-ID"] for request in server.received)
    assert asked == sorted(["mallory", *(str(user.user_id) for user in OTHERS)])
    assert took < 1.0 + SLACK  # one after the other: forty
    with pytest.raises(AccessDenied):
        resolver.resolve(asks(MALLORY))
    assert len(server.received) == 41


def test_refused_user_is_refused_on_every_path(
    server: ScriptedServer, resolver: InstanceResolver
) -> None:
    """A refused user is refused, though others have a fresh, stale or mapped copy in the cache."""
    project = Answer(200, json.dumps({"project_id": "shop", "instance_id": "acme"}).encode())
    server.answers = lambda request: (
        project if "/projects/" in request.path else refusing(lambda _: GOOD)(request)
    )
    with pytest.raises(AccessDenied):
        resolver.resolve(asks(MALLORY))
    ada = OTHERS[0]
    by_project = asks(MALLORY, None, project_id="shop")

    def is_refused() -> bool:
        contexts = [asks(MALLORY), by_project]
        return all(isinstance(told, AccessDenied) for told in CROWDS[2](resolver, contexts))

    assert is_refused()  # absent
    assert resolver.resolve(asks(ada)).source is Source.SERVICE
    assert is_refused()  # fresh
    resolver.cache.expire("acme")
    assert is_refused()  # stale
    server.answers = Answer(500)
    assert resolver.resolve(asks(ada)).source is Source.STALE_CACHE
    assert is_refused()  # stale, and the service is down
    resolver.cache.invalidate("acme")
    assert is_refused()  # absent again
    assert [path for path in paths(server, "mallory") if "instances" in path] == ["/instances/acme"]


def paths(server: ScriptedServer, user_id: str) -> list[str]:
    return [request.path for request in server.received if request.headers["X-User-ID"] == user_id]


def test_refusal_holds_for_the_negative_ttl(
    server: ScriptedServer, resolver: InstanceResolver
) -> None:
    """A refusal holds for NEGATIVE_TTL; after that the service is asked again."""
    clock = Monotonic(resolver)
    begun = clock.now
    server.answers = FORBIDDEN
    for seconds, calls in [(0, 1), (29.9, 1), (30, 2), (59.9, 2)]:
        clock.now = begun + seconds
        with pytest.raises(AccessDenied):
            resolver.resolve(asks(MALLORY))
        assert len(server.received) == calls


def test_refusal_holds_for_a_lookup_under_way(
    server: ScriptedServer, resolver: InstanceResolver
) -> None:
    """A user who follows another's fetch, and is refused meanwhile, does not get what comes."""
    refused = threading.Event()
    server.answers = refusing(when(refused.is_set, GOOD))
    with led_by(resolver, server, OLGA) as pool, ThreadPoolExecutor(1) as followers:
        following = followers.submit(resolver.resolve, asks(MALLORY))
        wait_until(waiting(resolver, 2))
        resolver.cache.invalidate("acme")  # now the next caller leads a new fetch
        with pytest.raises(AccessDenied):
            resolver.resolve(asks(MALLORY))
        refused.set()
        with pytest.raises(AccessDenied):
            following.result(LONG)
        pool.shutdown()


@pytest.mark.parametrize("crowd", CROWDS)
def test_stranger_who_follows_the_owner_is_denied(
    server: ScriptedServer, resolver: InstanceResolver, crowd: Crowd
) -> None:
    """Each follower of the owner's fetch is authorized as its own user."""
    server.answers = when(waiting(resolver, 5), GOOD)
    with led_by(resolver, server, OLGA):
        told = crowd(resolver, [asks(OLGA), asks(SAM), asks(SAM), asks(OLGA)])
    denied, served = AccessDenied, LookupResult
    assert [type(answer) for answer in told] == [served, denied, denied, served]
    assert len(server.received) == 1


def test_policy_is_asked_about_each_follower(server: ScriptedServer, alias: str) -> None:
    """An owner who follows an admin, where only admins may, is denied as well."""
    with resolver_on(server, alias, access_policy=IsAdmin()) as resolver:
        server.answers = when(waiting(resolver, 2), GOOD)
        with led_by(resolver, server, OTHERS[0]), pytest.raises(AccessDenied):
            resolver.resolve(asks(OLGA))


@pytest.mark.parametrize("crowd", CROWDS)
def test_follower_of_a_failed_leader_is_answered_in_time(
    server: ScriptedServer, alias: str, crowd: Crowd
) -> None:
    """All followers get the leader's failure, each by its own deadline."""
    server.answers = mute()
    with resolver_on(server, alias, config_service_timeout=1.0) as resolver:
        with led_by(resolver, server, OLGA), within(1.0):
            told = crowd(resolver, [asks()] * 20)
        server.stop()
    assert [type(answer) for answer in told] == [ConfigServiceUnavailable] * 20
    assert len(server.received) == 1


def test_follower_asks_when_the_leading_process_gave_up(
    server: ScriptedServer, resolver: InstanceResolver, alias: str
) -> None:
    """A lease that was given back, with nothing stored, is waited for no longer."""
    under = resolver.cache.tiers.shared.read("acme").generation
    assert under is not None
    lease = lease_key(instance_kind(InstanceConfig), "acme", under)
    caches[alias].add(lease, "taken", 60)
    began = monotonic()
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(resolver.resolve, asks())
        wait_until(waiting(resolver, 1))
        caches[alias].delete(lease)
        assert following.result(LONG).source is Source.SERVICE
    assert monotonic() - began < LONG / 2  # when it would have asked all the same


async def test_cancelled_coroutine_cancels_only_its_own_wait(
    server: ScriptedServer, resolver: InstanceResolver
) -> None:
    """The leader, or a follower, that goes away leaves the fetch to the others."""
    given_up = threading.Event()
    server.answers = when(given_up.is_set, GOOD)
    tasks = [asyncio.create_task(resolver.aresolve(asks())) for _ in range(4)]
    await asyncio.to_thread(wait_until, waiting(resolver, 4))
    await asyncio.to_thread(wait_until, lambda: server.received)
    for task in tasks[:2]:
        task.cancel()
    gone = await asyncio.gather(*tasks[:2], return_exceptions=True)
    given_up.set()
    results = await asyncio.gather(*tasks[2:])
    assert [type(outcome) for outcome in gone] == [asyncio.CancelledError] * 2
    assert [result.config.r2_bucket for result in results] == ["first"] * 2
    assert len(server.received) == 1


@pytest.mark.extras
def test_killed_leader_costs_the_others_no_more_than_the_deadline(
    server: ScriptedServer, request: pytest.FixtureRequest
) -> None:
    """A process that holds the lease and is gone is noticed half way, by each other process."""
    seconds = 6.0
    server.answers = lambda asked: mute() if asked.headers["X-Request-ID"] == "leader" else GOOD
    options = {"config_service_url": server.url, "config_service_timeout": seconds}
    with (
        shared_cache("django-redis", request) as alias,
        caller("leader", alias=alias, users=["olga"], **options) as leader,
        caller("other", alias=alias, users=["olga"] * 4, **options) as other,
        resolver_on(server, alias, config_service_timeout=seconds) as resolver,
    ):
        assert [leader.hears(), other.hears()] == ["ready"] * 2
        leader.go()
        wait_until(lambda: server.received, LONG)
        leader.process.kill()
        leader.process.wait()
        other.go()
        with within(seconds):
            told = CROWDS[2](resolver, [asks()] * 4)
            assert [type(answer) for answer in told] == [LookupResult] * 4
            assert other.hears() == "missed"
            assert set(other.answers()) <= {"cache", "service"}
    assert len(server.received) <= 3
