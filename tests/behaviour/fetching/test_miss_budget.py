"""One caller who makes up ids: the service, the memory and the others do not feel it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from instance_lookup import (
    InstanceLookupError,
    InstanceNotFound,
    InstanceResolver,
    LookupContext,
    LookupResult,
    LookupUser,
    MissBudgetSpent,
    Source,
    get_resolver,
)
from instance_lookup.concurrency import pools
from tests.outages.crowds import LONG
from tests.support.doors import BROWSER, CALLERS, NO_STORE, PROBLEM, Caller, owned_by, serve
from tests.support.insides import flights_of
from tests.support.lookups import ADA, OLGA, SAM, TWINS, Service, Twin, acme, asks
from tests.support.monotonic import Monotonic
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.backends.base import Document, NotModified, Query
    from instance_lookup.backends.memory import DictConfigService

MANY = 10_000
CROWD = 2_000
BUDGET = 60


class Gated(Service):
    """A service that answers no request before it is ``released``."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        try:
            return super().get_instance(instance_id, query)
        finally:
            assert self.released.wait(LONG)


@pytest.fixture
def service() -> Iterator[Gated]:
    service = Gated()
    yield service
    service.released.set()


@pytest.fixture
def open_service() -> Service:
    return Service()


def resolver_of(service: Service, **options: Any) -> InstanceResolver:
    options = {"config_service_timeout": LONG, "near_cache_size": 100, **options}
    return InstanceResolver(config_service_backend=service, near_cache_ttl=60 * LONG, **options)


def stopped(resolver: InstanceResolver) -> Monotonic:
    """Have no time pass for the budgets but by hand."""
    return Monotonic(resolver)


def made_up(number: int, user: LookupUser = SAM) -> LookupContext:
    return asks(user, f"made-up-{number}")


def came_of(resolver: InstanceResolver, context: LookupContext) -> type:
    """Look up, and return the class of the result or of the error."""
    try:
        return type(resolver.resolve(context))
    except InstanceLookupError as exc:
        return type(exc)


def spend(resolver: InstanceResolver, user: LookupUser = SAM, *, first: int = 0) -> None:
    """Ask for one made-up id after the other until that is refused."""
    for number in range(first, first + MANY):
        if came_of(resolver, made_up(number, user)) is MissBudgetSpent:
            return
    pytest.fail("he may go on for ever")


def test_one_after_the_other(open_service: Service) -> None:
    """The service is asked as often as the budget allows, then at its rate."""
    resolver = resolver_of(open_service)
    clock = stopped(resolver)
    told = [came_of(resolver, made_up(number)) for number in range(MANY)]
    assert told == [InstanceNotFound] * BUDGET + [MissBudgetSpent] * (MANY - BUDGET)
    assert len(open_service.calls) == BUDGET
    for _ in range(10):
        clock.now += 1
        spend(resolver, first=MANY)
    assert len(open_service.calls) == BUDGET + 10


def test_threads_at_once(service: Gated) -> None:
    """The budget is taken at take-off: calls that are under way together are counted, too."""
    resolver = resolver_of(service)
    stopped(resolver)
    with ThreadPoolExecutor(2 * BUDGET) as pool:
        asked = [pool.submit(came_of, resolver, made_up(number)) for number in range(CROWD)]
        wait_until(lambda: len(service.calls) == BUDGET, LONG)
        service.released.set()
        told = [future.result(LONG) for future in asked]
    assert set(told) == {InstanceNotFound, MissBudgetSpent}
    assert len(service.calls) == BUDGET


def test_coroutines_at_once(service: Gated) -> None:
    """Coroutines that wait without a thread count too; too many of one user get 503."""
    resolver = resolver_of(service)
    stopped(resolver)

    async def look_up() -> list[Any]:
        lookups = [resolver.aresolve(made_up(number)) for number in range(CROWD)]
        tasks = asyncio.gather(*lookups, return_exceptions=True)
        under_way = BUDGET + 4 * pools.FLIGHTS
        await asyncio.to_thread(wait_until, lambda: len(flights_of(resolver)) == under_way, LONG)
        service.released.set()
        return await tasks

    told = asyncio.run(asyncio.wait_for(look_up(), 2 * LONG))
    reasons = Counter(getattr(error, "details", {}).get("reason") for error in told)
    assert set(reasons) <= {None, "miss_budget", "full"}
    assert reasons[None] == len(service.calls) == BUDGET


@pytest.mark.parametrize("twin", TWINS)
def test_others_are_served_as_before(open_service: Service, twin: Twin) -> None:
    """Each user has their own budget, and answers from the cache cost none of it."""
    resolver = resolver_of(open_service)
    stopped(resolver)
    open_service.instances["sams"] = acme("sams", metadata={"owner": "sam"}, instance_id="sams")
    open_service.instances["cold"] = acme("cold", instance_id="cold")
    assert twin(resolver, "resolve", asks(SAM, "sams")).source is Source.SERVICE
    spend(resolver)
    assert twin(resolver, "resolve", asks(SAM, "sams")).source is Source.CACHE
    assert twin(resolver, "resolve", asks()).source is Source.SERVICE
    assert twin(resolver, "resolve", asks(OLGA, "cold")).source is Source.SERVICE
    assert came_of(resolver, made_up(MANY, OLGA)) is InstanceNotFound


def test_others_who_wait_for_the_same_id(service: Gated) -> None:
    """Users who join the fetch of one whose budget ends meanwhile have an answer of their own."""
    resolver = resolver_of(service)
    stopped(resolver)
    service.instances["cold"] = acme("cold", instance_id="cold")
    with ThreadPoolExecutor(2 * BUDGET) as pool:
        first = [pool.submit(came_of, resolver, made_up(number)) for number in range(BUDGET)]
        wait_until(lambda: len(service.calls) == BUDGET, LONG)  # there is no budget left to take
        behind = pool.submit(came_of, resolver, asks(SAM, "cold"))
        wait_until(lambda: len(flights_of(resolver)) == BUDGET + 1, LONG)
        others = [pool.submit(came_of, resolver, asks(user, "cold")) for user in (OLGA, ADA)]
        wait_until(lambda: resolver.get_cache_stats().misses == BUDGET + 3, LONG)
        service.released.set()
        assert {future.result(LONG) for future in first} == {InstanceNotFound}
        assert [future.result(LONG) for future in others] == [LookupResult] * 2
        behind.result(LONG)  # the answer itself does not matter


def test_answer_known_to_be_none_costs_nothing(open_service: Service) -> None:
    """Repeated requests for one wrong id cost the budget once."""
    resolver = resolver_of(open_service)
    stopped(resolver)
    assert {came_of(resolver, made_up(1)) for _ in range(1_000)} == {InstanceNotFound}
    assert len(open_service.calls) == 1
    assert came_of(resolver, made_up(2)) is InstanceNotFound


def test_projects_have_a_budget_too(open_service: Service) -> None:
    """A made-up project costs the service what a made-up instance does."""
    resolver = resolver_of(open_service)
    stopped(resolver)
    asked = (asks(SAM, None, project_id=f"made-up-{number}") for number in range(100))
    told = [came_of(resolver, context) for context in asked]
    assert told == [InstanceNotFound] * BUDGET + [MissBudgetSpent] * 40


def test_memory_is_bounded(open_service: Service) -> None:
    """Without a budget, unknown ids still do not push existing ones out of the near cache."""
    size = 100
    resolver = resolver_of(open_service, miss_budget=None, near_cache_size=size)
    for _ in range(2):
        resolver.resolve(asks())
    for number in range(5 * size):
        for _ in range(2):
            assert came_of(resolver, made_up(number)) is InstanceNotFound
    near = resolver.cache.tiers.near
    assert near is not None
    assert (len(near), near.get("acme") is not None) == (size + 1, True)


def test_service_user_is_exempt(open_service: Service) -> None:
    """Warming, and jobs without a user, may meet any number of ids that are gone."""
    resolver = resolver_of(open_service)
    stopped(resolver)
    for number in range(100):
        assert came_of(resolver, made_up(number, LookupUser.service())) is InstanceNotFound
        with pytest.raises(InstanceNotFound):
            resolver.refresh(f"gone-{number}")
    assert len(open_service.calls) == 200


@pytest.mark.parametrize("twin", TWINS)
def test_stale_copy_is_served(open_service: Service, twin: Twin) -> None:
    """A user whose budget is spent still gets the stale copy."""
    resolver = resolver_of(open_service)
    stopped(resolver)
    found = resolver.resolve(asks())
    resolver.cache.set("acme", found.config, ttl=0.001)
    wait_until(lambda: not resolver.cache.has("acme"))
    spend(resolver, OLGA)
    assert twin(resolver, "resolve", asks()).config.r2_bucket == "first"


@pytest.mark.parametrize("twin", TWINS)
def test_error_says_when(open_service: Service, twin: Twin) -> None:
    """The error names the id, the reason and the time to wait, and is a 503-like error."""
    resolver = resolver_of(open_service)
    stopped(resolver)
    spend(resolver)
    with pytest.raises(MissBudgetSpent, match="'made-up-5000'") as raised:
        twin(resolver, "resolve", made_up(5_000))
    assert raised.value.retry_after == pytest.approx(1.0)
    assert raised.value.details == {"reason": "miss_budget", "instance_id": "made-up-5000"}


@pytest.fixture
def door(db: None, settings: Any) -> DictConfigService:
    """The test site, with a budget of one and a user who has spent it."""
    service = serve(settings, MISS_BUDGET=1)
    olga = User.objects.create_user("olga")
    service.instances["acme"] = owned_by(olga)
    stopped(get_resolver())
    with pytest.raises(InstanceNotFound):
        get_resolver().resolve(made_up(0, LookupUser(str(olga.pk))))
    return service


PLAIN = ["plain", "aplain", "required", "arequired", "mixed", "amixed"]
API = [pytest.param(path, marks=pytest.mark.extras) for path in ("api", "open")]


@pytest.mark.usefixtures("door")
class TestAnswers:
    @pytest.fixture(params=[*PLAIN, *API])
    def path(self, request: pytest.FixtureRequest, settings: Any) -> str:
        path: str = request.param
        if path not in PLAIN:
            settings.ROOT_URLCONF = "tests.behaviour.drf.urls"
            handler = "instance_lookup.permissions.exception_handler"
            settings.REST_FRAMEWORK = {"EXCEPTION_HANDLER": handler}
        return path

    @pytest.mark.parametrize("accept", ["*/*", BROWSER])
    @pytest.mark.parametrize("is_async", CALLERS)
    def test_too_many_requests(self, *, path: str, is_async: bool, accept: str) -> None:
        """The answer is 429 with ``Retry-After``, as a problem or as a page, in each view."""
        caller = Caller(is_async=is_async).login(User.objects.get())
        response = caller(path, "made-up-1", accept=accept)
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "60"
        assert response.headers["Cache-Control"] == NO_STORE
        if accept == BROWSER:
            assert response.headers["Content-Type"].startswith("text/html")
            assert "Too Many Requests" in response.text
            return
        body = json.loads(response.content)
        assert response.headers["Content-Type"] == PROBLEM
        assert (body["title"], body["status"]) == ("Too Many Requests", 429)
        assert body["type"] == "urn:instance-lookup:miss-budget-spent"
        assert body["instance_id"] == "made-up-1"

    @pytest.mark.extras
    def test_without_our_handler(self, settings: Any) -> None:
        """DRF leaves what it does not know to the middleware."""
        settings.ROOT_URLCONF = "tests.behaviour.drf.urls"
        response = Caller(is_async=False).login(User.objects.get())("api", "made-up-1")
        assert (response.status_code, response.headers["Retry-After"]) == (429, "60")
        assert response.headers["Content-Type"] == PROBLEM
