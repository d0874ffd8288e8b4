"""What is not a user's own is loaded as if nothing were known of it, at the cost of a miss."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from instance_lookup import (
    InstanceLookupError,
    InstanceNotFound,
    InstanceResolver,
    LookupContext,
    LookupUser,
    MissBudgetSpent,
    Source,
)
from instance_lookup.fetching.deletions import BELIEVED
from tests.support.insides import has_landed
from tests.support.lookups import (
    ADA,
    OLGA,
    SAM,
    Clock,
    Service,
    Twin,
    acme,
    asks,
    hooked_caches,
    hooks,
)
from tests.support.monotonic import Monotonic, clocked
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from instance_lookup.backends.base import Document, NotModified, Query

LONG = 20.0
BUDGET = 3


class Gated(Service):
    """A service that knows what is Sam's as well, and answers once it is ``open``."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()
        self.instances["sams"] = acme("sams", instance_id="sams", metadata={"owner": "sam"})

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        try:
            return super().get_instance(instance_id, query)
        finally:
            assert self.open.wait(LONG)


@pytest.fixture
def service() -> Iterator[Gated]:
    service = Gated()
    yield service
    service.open.set()


@pytest.fixture
def resolver(clock: Clock, service: Gated) -> InstanceResolver:
    return concealing(service)


def concealing(service: Service, **options: Any) -> InstanceResolver:
    """Return a resolver that conceals, for whose budgets and memory no time passes by itself."""
    options = {"conceal_denied": True, "miss_budget": BUDGET, **options}
    resolver = InstanceResolver(config_service_backend=service, **options)
    Monotonic(resolver)
    return resolver


def clock_of(resolver: InstanceResolver) -> Monotonic:
    clock: Any = clocked(resolver)[0]._clock
    return clock  # type: ignore[no-any-return]


def came_of(call: Twin, resolver: InstanceResolver, context: LookupContext) -> type | str:
    try:
        return str(call(resolver, "resolve", context).config.instance_id)
    except InstanceLookupError as exc:
        return type(exc)


def left(resolver: InstanceResolver, user: LookupUser = SAM) -> int:
    """Spend what is left of the user's budget; return how much that was."""
    for number in range(BUDGET + 1):
        if came_of(Twin(is_async=False), resolver, asks(user, f"made-up-{number}")) is not (
            InstanceNotFound
        ):
            return number
    raise AssertionError("there is no budget")


@pytest.mark.parametrize("project", [False, True])
def test_own_instance_costs_nothing(
    resolver: InstanceResolver, call: Twin, service: Gated, project: bool
) -> None:
    """A user's own instance costs no budget, the first time or later."""
    service.projects["mine"] = "sams"
    context = asks(SAM, None, project_id="mine") if project else asks(SAM, "sams")
    for _ in range(2 * BUDGET):
        assert came_of(call, resolver, context) == "sams"
        resolver.invalidate_cache("sams")
        resolver.invalidate_project("mine")
    assert left(resolver) == BUDGET
    if project:
        assert came_of(call, resolver, context) == "sams"  # another budget


def test_own_instance_and_spent_budget(resolver: InstanceResolver, call: Twin) -> None:
    """With a spent budget a user's own instance is served from the cache only."""
    assert left(resolver) == BUDGET
    assert came_of(call, resolver, asks(SAM, "sams")) is MissBudgetSpent
    resolver.refresh("sams")
    assert came_of(call, resolver, asks(SAM, "sams")) == "sams"


@pytest.mark.parametrize("fails", [False, True])
def test_own_stale_instance_and_spent_budget(
    resolver: InstanceResolver, call: Twin, service: Gated, clock: Clock, fails: bool
) -> None:
    """With a spent budget a user's own stale copy may be refreshed, and is served otherwise."""
    resolver.resolve(asks(SAM, "sams"))
    assert left(resolver) == BUDGET
    clock.now += 300
    service.failure = OSError("no route") if fails else None
    source = Source.STALE_CACHE if fails else Source.SERVICE
    assert call(resolver, "resolve", asks(SAM, "sams")).source is source


def test_admins_are_not_limited_where_they_may(resolver: InstanceResolver, call: Twin) -> None:
    """An admin's lookup of another user's instance costs no budget."""
    for _ in range(2 * BUDGET):
        assert came_of(call, resolver, asks(ADA)) == "acme"
    assert left(resolver, ADA) == BUDGET


def test_service_user_is_exempt(resolver: InstanceResolver, call: Twin) -> None:
    """The site itself may ask for any number of unknown ids."""
    for number in range(2 * BUDGET):
        context = asks(LookupUser.service(), f"gone-{number}")
        assert came_of(call, resolver, context) is InstanceNotFound


def test_denial_asks_the_service_once(
    resolver: InstanceResolver, call: Twin, service: Gated
) -> None:
    """A denial asks the service once, as an unknown id does, and is remembered for a while."""
    resolver.resolve(asks())
    for name in ("acme", "nobody"):
        service.calls.clear()
        for _ in range(2 * BUDGET):
            assert came_of(call, resolver, asks(SAM, name)) is InstanceNotFound
        assert service.calls == [("get_instance", name, "sam")]
    clock_of(resolver).now += 30
    for name in ("acme", "nobody"):
        service.calls.clear()
        assert came_of(call, resolver, asks(SAM, name)) is InstanceNotFound
        assert service.calls == [("get_instance", name, "sam")]


def test_what_others_were_told(resolver: InstanceResolver, call: Twin, service: Gated) -> None:
    """An answer kept for one user, "does not exist" or "not yours", is not used for another."""
    for name in ("acme", "nobody"):
        came_of(call, resolver, asks(SAM, name))
        service.calls.clear()
        assert came_of(call, resolver, asks(LookupUser("eve"), name)) is InstanceNotFound
        assert service.calls == [("get_instance", name, "eve")]
    assert left(resolver, LookupUser("eve")) == BUDGET - 2


@pytest.mark.parametrize("change", ["invalidate", "expire"])
@pytest.mark.parametrize("name", ["acme", "new"])
def test_what_has_become_theirs(
    *, resolver: InstanceResolver, call: Twin, service: Gated, change: str, name: str
) -> None:
    """After an invalidation the new owner gets the instance, though it was denied before."""
    assert came_of(call, resolver, asks(SAM, name)) is InstanceNotFound
    service.instances[name] = acme("", instance_id=name, metadata={"owner": "sam"})
    assert came_of(call, resolver, asks(SAM, name)) is InstanceNotFound
    call(resolver.cache, change, name)
    assert came_of(call, resolver, asks(SAM, name)) == name
    assert left(resolver) == BUDGET - 1


def test_what_others_found_to_be_theirs(
    resolver: InstanceResolver, call: Twin, service: Gated
) -> None:
    """The cache is read first: an entry stored meanwhile may be the user's own."""
    assert came_of(call, resolver, asks(SAM)) is InstanceNotFound
    service.instances["acme"] = acme("", metadata={"owner": "sam"})
    resolver.refresh("acme")
    assert came_of(call, resolver, asks(SAM)) == "acme"


def test_what_is_no_longer_theirs(
    resolver: InstanceResolver, call: Twin, service: Gated, clock: Clock
) -> None:
    """A former owner gets the answer of a stranger, at the same cost."""
    resolver.resolve(asks(SAM, "sams"))
    clock.now += 300
    service.instances["sams"] = acme("", instance_id="sams")
    for _ in range(2 * BUDGET):
        assert came_of(call, resolver, asks(SAM, "sams")) is InstanceNotFound
    assert left(resolver) == BUDGET - 1


def at_once(jobs: Sequence[Callable[[], Any]], until: Callable[[], object], service: Gated) -> None:
    """Run the jobs beside each other, and have the service answer when all are waiting."""
    service.open.clear()
    with ThreadPoolExecutor(len(jobs)) as pool:
        running = [pool.submit(job) for job in jobs]
        wait_until(until, LONG)
        service.open.set()
        for job in running:
            job.result(LONG)


@pytest.mark.parametrize("name", ["acme", "nobody"])
def test_followers_pay_as_well(
    resolver: InstanceResolver, call: Twin, service: Gated, name: str
) -> None:
    """A follower of another user's call pays as much of its budget as that user."""
    users = [SAM, LookupUser("eve"), SAM]
    jobs = [partial(came_of, call, resolver, asks(user, name)) for user in users]
    at_once(jobs, lambda: resolver.get_cache_stats().misses == len(jobs), service)
    assert len(service.calls) == 1
    assert [left(resolver, user) for user in users[:2]] == [BUDGET - 1] * 2


def test_own_instance_costs_a_crowd_nothing(
    resolver: InstanceResolver, call: Twin, service: Gated
) -> None:
    """Many lookups of a user's own instance at once neither cost nor add budget."""
    assert came_of(call, resolver, asks(SAM, "nobody")) is InstanceNotFound
    jobs = [partial(came_of, call, resolver, asks(SAM, "sams"))] * 5
    at_once(jobs, lambda: resolver.get_cache_stats().misses == 1 + len(jobs), service)
    assert left(resolver) == BUDGET - 1


@pytest.mark.parametrize("name", ["acme", "nobody"])
@pytest.mark.parametrize("cached", [False, True])
def test_who_leaves_pays(
    resolver: InstanceResolver, service: Gated, name: str, cached: bool
) -> None:
    """A client that hangs up during the lookup pays for it."""
    if cached:
        resolver.resolve(asks())

    async def leave() -> None:
        task = asyncio.create_task(resolver.aresolve(asks(SAM, name)))
        await asyncio.to_thread(wait_until, lambda: service.calls[-1][2] == "sam", LONG)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    service.calls.append(("", None, None))
    service.open.clear()
    asyncio.run(leave())
    service.open.set()
    wait_until(lambda: has_landed(resolver), LONG)
    assert left(resolver) == BUDGET - 1


@pytest.mark.parametrize("name", ["acme", "nobody"])
def test_cache_outage(clock: Clock, service: Gated, call: Twin, name: str) -> None:
    """While the cache is down each lookup that makes a call costs one miss."""

    def fail(verb: str, key: str) -> None:
        raise OSError("no route to the cache")

    with override_settings(CACHES=hooked_caches()):
        resolver = concealing(service)
        resolver.resolve(asks())
        with hooks(fail):
            for _ in range(2):
                assert came_of(call, resolver, asks(SAM, name)) is InstanceNotFound
                clock_of(resolver).now += 10
            clock_of(resolver).now -= 20
            assert left(resolver) == BUDGET - 2


def test_refusal_by_the_service(resolver: InstanceResolver, call: Twin, service: Gated) -> None:
    """A 403 of the service is remembered for its user, whatever the policy says."""
    service.instances["shared"] = acme("", instance_id="shared", metadata={"owner": "sam"})
    loader = resolver._load_config
    loader._refusals.note(SAM, "shared")
    resolver.refresh("shared")
    service.projects["shareds"] = "shared"
    for context in (asks(SAM, "shared"), asks(SAM, None, project_id="shareds")):
        assert came_of(call, resolver, context) is InstanceNotFound
    assert ("get_instance", "shared", "sam") not in service.calls


def test_refusal_leaves_what_is_theirs(
    resolver: InstanceResolver, call: Twin, service: Gated
) -> None:
    """A 403 for one instance does not affect the user's own instance."""
    resolver._load_config._refusals.note(SAM, "acme")
    assert came_of(call, resolver, asks(SAM)) is InstanceNotFound
    assert [came_of(call, resolver, asks(SAM, "sams")) for _ in range(2)] == ["sams"] * 2


def test_everything_gone(resolver: InstanceResolver, call: Twin, service: Gated) -> None:
    """While the service denies all tenants, a stranger learns nothing of the kept copies."""
    others = [f"other-{number}" for number in range(BELIEVED)]
    service.instances.update({name: acme("", instance_id=name) for name in others})
    for name in (*others, "acme"):
        resolver.resolve(asks(instance_id=name))
    service.instances.clear()
    for name in others:
        resolver.cache.expire(name)
        came_of(call, resolver, asks(OLGA, name))
    assert came_of(call, resolver, asks(SAM)) is InstanceNotFound


def test_near_copy_of_the_former_owner(service: Gated, call: Twin, clock: Clock) -> None:
    """A copy in the near cache is served to its owner only."""
    resolver = concealing(service, near_cache_size=10)
    for _ in range(3):
        assert came_of(call, resolver, asks(OLGA)) == "acme"
        assert came_of(call, resolver, asks(OLGA, None, project_id="shop")) == "acme"
    assert came_of(call, resolver, asks(SAM)) is InstanceNotFound
    assert came_of(call, resolver, asks(SAM, None, project_id="shop")) is InstanceNotFound
    assert came_of(call, resolver, asks(OLGA)) == "acme"


@pytest.mark.parametrize("project_id", ["shop", "nothing"])
def test_project_beside_an_own_instance(
    resolver: InstanceResolver, call: Twin, service: Gated, project_id: str
) -> None:
    """A user cannot learn with their own instance whether another user's project exists."""
    resolver.resolve(asks(OLGA, None, project_id="shop"))
    service.projects["mine"] = "sams"
    assert came_of(call, resolver, asks(SAM, "sams", project_id="mine")) == "sams"
    told = [
        came_of(call, resolver, asks(SAM, "sams", project_id=name)).__name__  # type: ignore[union-attr]
        for name in (project_id, "made-up-1", "made-up-2", "made-up-3", project_id)
    ]
    assert told == ["InvalidContext"] * 3 + ["MissBudgetSpent"] * 2
    assert came_of(call, resolver, asks(SAM, "sams", project_id="mine")) == "sams"
