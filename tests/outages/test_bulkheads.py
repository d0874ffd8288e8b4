"""What one id, user or busy process costs the others at most (docs/explanation/resilience.md)."""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.test import override_settings

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
    InstanceResolver,
    LookupContext,
    LookupResult,
    LookupUser,
    MissBudgetSpent,
)
from instance_lookup.concurrency import pools
from instance_lookup.concurrency.threads import DaemonPool
from tests.outages.crowds import CROWDS, LONG
from tests.outages.outages import Later, healthy
from tests.outages.service_outages import PATIENT, SYNC, make, outcome
from tests.support.insides import has_landed
from tests.support.lookups import ADA, OLGA, SAM, TWINS, Twin, asks, hooked_caches
from tests.support.monotonic import Monotonic
from tests.support.servers import Answer, Received, Script, ScriptedServer, mute, reset
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.outages.crowds import Told

POISONS: dict[str, Script] = {
    "500": Answer(500),
    "503": Answer(503, headers={"Retry-After": "60"}),
    "429": Answer(429, headers={"Retry-After": "60"}),
    "reset": reset(),
    "mute": mute(),
    "401": Answer(401),
    "page": Answer(404, b"<h1>?</h1>", {"Content-Type": "text/html"}),
}

FAILURES = 5
"""BREAKER_FAILURES, as it is without a setting."""


@pytest.fixture(autouse=True)
def _own_cache() -> Iterator[None]:
    with override_settings(CACHES=hooked_caches()):
        yield


def name_of(request: Received) -> str:
    return request.path.rpartition("/")[2]


def poisoned(script: Script) -> Callable[[Received], Script]:
    """Return a script for a service that fails for one id, and is well."""
    return lambda request: script if name_of(request) == "poisoned" else healthy(request)


def came_of(resolver: InstanceResolver, context: LookupContext, call: Twin = SYNC) -> type:
    try:
        return type(call(resolver, "resolve", context))
    except InstanceLookupError as exc:
        return type(exc)


# -- one id ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", POISONS.values(), ids=POISONS)
def test_id_that_fails_refuses_no_other(script: Script) -> None:
    """An id that always fails affects only its own callers, however it fails."""
    with ScriptedServer(poisoned(script)) as server:
        resolver = make(server.url, config_service_timeout=1.5)
        later = Later(resolver)
        for _ in range(6):
            later.passed += 61
            assert outcome(resolver, "poisoned") not in {"service", "backing_off", "circuit_open"}
            wait_until(partial(has_landed, resolver))  # a caller may leave before that
        told = Counter(outcome(resolver, f"healthy-{number}") for number in range(40))
    assert told == {"service": 40}


@pytest.mark.parametrize("script", [Answer(500), Answer(503, headers={"Retry-After": "60"})])
def test_id_that_fails_without_healthy_ones_between_refuses_no_other(script: Script) -> None:
    """The breaker counts ids: ten failures of one id in a row count as one."""
    with ScriptedServer(poisoned(script)) as server:
        resolver = make(server.url, **PATIENT)
        later = Later(resolver)
        for _ in range(10):
            later.passed += 61
            assert outcome(resolver, "poisoned") == "status"
        told = [outcome(resolver, f"healthy-{number}") for number in range(40)]
    assert told == ["service"] * 40


@pytest.mark.parametrize("twin", TWINS)
def test_id_that_fails_is_left_alone(twin: Twin) -> None:
    """An id without a copy that goes on failing rests; callers get the seconds left."""
    with ScriptedServer(Answer(500)) as server:
        resolver = make(server.url, **PATIENT)
        later = Later(resolver)
        for _ in range(FAILURES - 1):  # it may be a blip
            assert outcome(resolver, "poisoned", twin) == "status"
        for _ in range(3):
            assert outcome(resolver, "poisoned", twin) == "status"
            later.passed += 4
            calls = len(server.received)
            for _ in range(20):
                with pytest.raises(ConfigServiceUnavailable) as caught:
                    twin(resolver, "resolve", asks(instance_id="poisoned"))
            assert caught.value.details["reason"] == "backing_off"
            assert caught.value.retry_after == pytest.approx(6, abs=3)
            assert len(server.received) == calls
            later.passed += 6


def test_id_that_failed_is_asked_for_after_an_invalidation() -> None:
    """An id that rests is asked for after it was invalidated or expired."""
    with ScriptedServer(Answer(500)) as server:
        resolver = make(server.url, **PATIENT)
        for change in (resolver.cache.invalidate, resolver.cache.expire):
            for _ in range(FAILURES):
                assert outcome(resolver) == "status"
            assert outcome(resolver) == "backing_off"
            change("acme")
        server.answers = healthy
        assert outcome(resolver) == "service"


@pytest.mark.parametrize("tenants", [1, 2])
def test_dead_service_of_few_tenants_is_left_alone(tenants: int) -> None:
    """With fewer ids than open the breaker each id rests by itself: ten calls a minute."""
    names = [f"tenant-{number}" for number in range(tenants)]
    with ScriptedServer(Answer(500)) as server:
        resolver = make(server.url, **PATIENT)
        later = Later(resolver)
        for _ in range(60):
            for name in names:
                outcome(resolver, name)
            later.passed += 1
        assert len(server.received) <= 10 * tenants


# -- one user --------------------------------------------------------------------------------------


@pytest.mark.parametrize("twin", TWINS)
def test_rate_limit_is_of_one_id_and_user(twin: Twin) -> None:
    """A 429 holds for this user and this id only; others are served as before."""
    limit = Answer(429, headers={"Retry-After": "7"})

    def limits_sam(request: Received) -> Script:
        own = request.headers["X-User-ID"] == "sam" and name_of(request) == "acme"
        return limit if own else healthy(request)

    with ScriptedServer(limits_sam) as server:
        resolver = make(server.url, **PATIENT)
        with pytest.raises(ConfigServiceUnavailable) as caught:
            twin(resolver, "resolve", asks(SAM))
        assert (caught.value.retry_after, caught.value.status_code) == (7, 503)
        assert outcome(resolver, user=SAM, twin=twin) == "backing_off"
        assert came_of(resolver, asks(SAM, "other"), twin) is AccessDenied  # it is olga's
        assert outcome(resolver, user=OLGA, twin=twin) == "service"
    assert len(server.received) == 3


@pytest.mark.parametrize("crowd", CROWDS)
def test_rate_limit_of_the_leader_is_theirs_alone(crowd: Any) -> None:
    """When the leader's call is rate-limited, the followers make their own calls."""
    limited = threading.Event()

    def limits_sam(request: Received) -> Script:
        if request.headers["X-User-ID"] != "sam":
            return healthy(request)
        limited.wait(LONG)
        return Answer(429)

    with ScriptedServer(limits_sam) as server, ThreadPoolExecutor(1) as pool:
        resolver = make(server.url, config_service_timeout=LONG)
        leader = pool.submit(outcome, resolver, user=SAM)
        wait_until(lambda: server.received)
        pool_of_followers = ThreadPoolExecutor(1)
        following = pool_of_followers.submit(crowd, resolver, [asks(OLGA), asks(ADA)])
        wait_until(lambda: resolver.get_cache_stats().misses == 3)
        limited.set()
        assert [type(told) for told in following.result(LONG)] == [LookupResult] * 2
        assert leader.result(LONG) == "rate_limited"
        pool_of_followers.shutdown()


MADE_UP = 300


@pytest.mark.parametrize("crowd", CROWDS)
def test_user_who_makes_up_ids(crowd: Callable[..., list[Told]]) -> None:
    """Slow 404s for one user hold up no other user, stay within the budget, and leave no keys."""
    served, neighbours = threading.Event(), [f"cold-{number}" for number in range(20)]

    def slow(request: Received) -> Script:
        if name_of(request).startswith("cold"):
            return healthy(request)
        served.wait(LONG)
        return Answer(404)

    with ScriptedServer(slow) as server, ThreadPoolExecutor(1) as pool:
        resolver = make(server.url, config_service_timeout=LONG)
        Monotonic(resolver)  # stands still: the budget grows by one a second
        made_up = [asks(SAM, f"made-up-{number}") for number in range(MADE_UP)]
        greedy = pool.submit(crowd, resolver, made_up)
        wait_until(lambda: len(server.received) == 60)
        for name in neighbours:
            assert resolver.resolve(asks(OLGA, name)).config.instance_id == name
        served.set()
        told = Counter(type(error) for error in greedy.result(2 * LONG))
        assert told == {InstanceNotFound: 60, MissBudgetSpent: MADE_UP - 60}
        assert sum("made-up" in request.path for request in server.received) == 60
        kept = [key for key in caches["default"]._cache if "made-up" in key]  # type: ignore[attr-defined]
        assert len(kept) <= 2 * 60  # "does not exist", and its generation
        assert {came_of(resolver, asks(OLGA, name)) for name in neighbours} == {LookupResult}


def test_user_whose_budget_is_spent_leaves_nothing_in_the_cache() -> None:
    """A user whose budget is spent writes nothing to the cache."""
    with ScriptedServer(lambda request: Answer(404)) as server:
        resolver = make(server.url, miss_budget=3, **PATIENT)
        Monotonic(resolver)
        for number in range(100):
            came_of(resolver, asks(SAM, f"made-up-{number}"))
        kept = [key for key in caches["default"]._cache if "made-up" in key]  # type: ignore[attr-defined]
    assert len(kept) <= 2 * 3


def test_user_with_many_slow_instances_leaves_threads_to_others() -> None:
    """One user has a quarter of a process's fetches at most; their other lookups wait."""
    many, served = 150, threading.Event()

    def slow(request: Received) -> Script:
        if name_of(request).startswith("slow"):
            served.wait(LONG)
        return healthy(request)

    with ScriptedServer(slow) as server, ThreadPoolExecutor(many) as pool:
        resolver = make(server.url, config_service_timeout=LONG, miss_budget=None)
        asked = [pool.submit(came_of, resolver, asks(ADA, f"slow-{n}")) for n in range(many)]
        wait_until(lambda: len(server.received) == pools.FLIGHTS_OF_ONE_USER)
        assert outcome(resolver, "acme") == "service"
        assert len(server.received) == pools.FLIGHTS_OF_ONE_USER + 1
        served.set()
        assert {future.result(LONG) for future in asked} == {LookupResult}


@pytest.mark.parametrize("crowd", CROWDS)
def test_refusal_that_is_slow_holds_up_no_other_user(crowd: Callable[..., list[Told]]) -> None:
    """Followers do not wait for another user's 403: some of them ask, and all are answered.

    That 403 comes after their answers: a follower that waited for it would be told of a timeout.
    """
    others, done = [LookupUser(f"user-{n}", roles=("admin",)) for n in range(41)], threading.Event()

    def script(request: Received) -> Script:
        if request.headers["X-User-ID"] == "mallory":
            done.wait(LONG)
            return Answer(403)
        wait_until(lambda: len(server.received) >= 1 + 4)  # they ask side by side
        return healthy(request)

    with ScriptedServer(script) as server, ThreadPoolExecutor(1) as pool:
        resolver = make(server.url, config_service_timeout=6.0)
        leader = pool.submit(came_of, resolver, asks(LookupUser("mallory")))
        wait_until(lambda: server.received)
        told = crowd(resolver, [asks(user) for user in others])
        done.set()
        assert [type(answer) for answer in told] == [LookupResult] * 41
        assert len(server.received) == 1 + 4
        assert leader.result(LONG) is AccessDenied


# -- one process -----------------------------------------------------------------------------------


def test_cold_tenants_at_once_are_served() -> None:
    """After a restart of the cache many lookups at once are all answered by a slow service."""
    names = [f"tenant-{number}" for number in range(300)]

    def slow(request: Received) -> Script:
        answer = healthy(request)
        return Answer(
            200, answer.body.replace(b'"olga"', b'"%s"' % name_of(request).encode()), delay=3
        )

    with ScriptedServer(slow) as server, ThreadPoolExecutor(len(names)) as pool:
        resolver = make(server.url, config_service_timeout=10)
        told = Counter(pool.map(lambda name: outcome(resolver, name, user=LookupUser(name)), names))
        assert told == {"service": 300}
        assert resolver._load_config._fetcher.service_health.breaker.is_closed


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with room for two calls."""
    monkeypatch.setattr(pools, "flights", DaemonPool("test-flight", 2, most=2, waiting=2))


@pytest.mark.usefixtures("narrow")
def test_full_process_says_so_at_once() -> None:
    """A full process answers 503 with a reason and Retry-After; the breaker stays closed."""
    served = threading.Event()

    def slow(request: Received) -> Script:
        served.wait(LONG)
        return healthy(request)

    with ScriptedServer(slow) as server, ThreadPoolExecutor(2) as pool:
        resolver = make(server.url, config_service_timeout=LONG)
        asked = [pool.submit(outcome, resolver, name, user=ADA) for name in "ab"]
        wait_until(lambda: len(server.received) == 2)
        with pytest.raises(ConfigServiceUnavailable) as caught:
            resolver.resolve(asks(OLGA, "c"))
        assert (caught.value.details["reason"], caught.value.retry_after) == ("full", 1.0)
        served.set()
        assert {future.result(LONG) for future in asked} == {"service"}
        wait_until(lambda: outcome(resolver, "c") == "service")


@pytest.mark.usefixtures("narrow")
def test_call_that_starts_late_is_not_held_against_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call that waited long for a thread does not count against the service."""
    monkeypatch.setattr(pools, "flights", DaemonPool("test-flight", 1, waiting=100))
    with ScriptedServer(lambda request: Answer(200, healthy(request).body, delay=0.7)) as server:
        resolver = make(server.url, config_service_timeout=1, breaker_failures=1)
        users = [LookupUser(f"user-{n}", roles=("admin",)) for n in range(6)]
        with ThreadPoolExecutor(len(users)) as pool:
            told = Counter(
                pool.map(lambda user: outcome(resolver, str(user.user_id), user=user), users)
            )
        assert told["service"] >= 1
        assert "circuit_open" not in told
        wait_until(lambda: has_landed(resolver))
        assert outcome(resolver, "user-5", user=ADA) == "service"


# -- ids in another spelling -----------------------------------------------------------------------


def ignoring_case(request: Received) -> Script:
    """Answer with one document for any spelling of its id."""
    name = name_of(request).lower()
    if "/projects/" in request.path:
        body: dict[str, Any] = {"project_id": name, "instance_id": "acme"}
    else:
        body = {"instance_id": name, "metadata": {"owner": "olga"}}
    return Answer(200, json.dumps(body).encode())


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("kind", ["instance_id", "project_id"])
def test_other_spelling_does_not_exist(kind: str, twin: Twin) -> None:
    """An id in another case does not exist, and this is remembered and counted as a miss."""

    def asked(name: str) -> LookupContext:
        return asks(OLGA, **{"instance_id": None, kind: name})

    with ScriptedServer(ignoring_case) as server:
        resolver = make(server.url, miss_budget=60, **PATIENT)
        Monotonic(resolver)  # stands still: the budget grows by one a second
        assert came_of(resolver, asked("tenant" if kind == "instance_id" else "shop"), twin) is (
            LookupResult
        )
        calls = len(server.received)
        for _ in range(3):
            assert came_of(resolver, asked("TENANT"), twin) is InstanceNotFound
        assert len(server.received) == calls + 1
        spellings = [f"Tenant-{number}" for number in range(100)]
        told = Counter(came_of(resolver, asked(name), twin) for name in spellings)
        assert told == {InstanceNotFound: 59, MissBudgetSpent: 41}
        assert resolver.get_cache_stats().rejected == 0


@pytest.mark.parametrize("body", [b'{"instance_id": "acme2"}', b'{"instance_id": "a-c-m-e"}'])
def test_other_id_is_no_answer(body: bytes) -> None:
    """A document with another id is rejected: 503."""
    with ScriptedServer(Answer(200, body)) as server:
        assert outcome(make(server.url, **PATIENT)) == "rejected"
