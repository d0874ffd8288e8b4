"""In an event loop: near answers wait for nothing, and a thousand lookups block no other."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from contextlib import contextmanager
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import SyncToAsync
from django.test import RequestFactory

from instance_lookup import (
    AccessDenied,
    InstanceNotFound,
    InstanceResolver,
    Source,
)
from instance_lookup.cache.pubsub import channel_of
from instance_lookup.concurrency.threads import DaemonPool
from instance_lookup.registry import replace_resolver
from instance_lookup.request.attributes import attach
from tests.outages.crowds import LONG, SHARED_CACHES, resolver_on, shared_cache
from tests.outages.outages import config
from tests.support.caches import use_cache
from tests.support.doors import Somebody
from tests.support.insides import flights_of
from tests.support.lookups import ADA, OLGA, SAM, Service, asks
from tests.support.servers import Answer, ScriptedServer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from instance_lookup import LookupContext, LookupResult
    from tests.support.servers import Received

CROWD = 1_000
TICK = 0.005
SERVICE_TIME = 0.05


@pytest.fixture
def service() -> Service:
    service = Service()
    service.instances["mine"] = {"metadata": {"owner": "olga"}}
    return service


@pytest.fixture
def resolver(service: Service) -> InstanceResolver:
    """A resolver whose near cache has all that the service knows, and that "gone" is unknown."""
    resolver = InstanceResolver(
        config_service_backend=service, near_cache_size=100, near_cache_ttl=LONG
    )
    for _ in range(2):
        resolver.resolve(asks())
        resolver.resolve(asks(ADA, None, project_id="shop"))
        with pytest.raises(InstanceNotFound):
            resolver.resolve(asks(ADA, "gone"))
    service.calls.clear()
    return resolver


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that is handed to another thread, by us, asgiref or asyncio."""
    hops: list[str] = []

    def counted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            hops.append(name)
            return original(self, *args, **kwargs)

        return call

    for owner, name in (
        (DaemonPool, "submit"),
        (SyncToAsync, "__call__"),
        (asyncio.BaseEventLoop, "run_in_executor"),
    ):
        monkeypatch.setattr(owner, name, counted(f"{owner.__name__}.{name}", getattr(owner, name)))
    return hops


def by_hand(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine without an event loop; fail if it awaits anything."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    finally:
        coroutine.close()
    pytest.fail("it waits")


ANSWERED = [asks(), asks(ADA), asks(ADA, None, project_id="shop"), asks(ADA, project_id="shop")]


@pytest.mark.parametrize("context", ANSWERED)
def test_near_hit(resolver: InstanceResolver, hops: list[str], context: LookupContext) -> None:
    """A near hit, of an instance or a project, needs no await and no other thread."""
    result = by_hand(resolver.aresolve(context))
    assert (result.config.instance_id, result.source) == ("acme", Source.CACHE)
    assert hops == []


@pytest.mark.parametrize(
    ("context", "error"), [(asks(SAM), AccessDenied), (asks(ADA, "gone"), InstanceNotFound)]
)
def test_near_refusal(
    resolver: InstanceResolver, hops: list[str], context: LookupContext, error: type[Exception]
) -> None:
    """A refusal or an unknown id in the near cache needs no other thread either."""
    with pytest.raises(error):
        by_hand(resolver.aresolve(context))
    assert hops == []


def request_of(user: object) -> Any:
    request: Any = RequestFactory().get("/", headers={"X-Instance-ID": "acme"})
    request.user = user
    attach(request)
    return request


@pytest.mark.parametrize("user", [Somebody("olga"), Somebody("root", is_superuser=True)])
def test_near_hit_of_a_request(resolver: InstanceResolver, hops: list[str], user: Somebody) -> None:
    """A near hit by ``request.ainstance_config()`` needs no await and no other thread."""
    request = request_of(user)
    with replace_resolver(resolver):
        assert by_hand(request.ainstance_config()).instance_id == "acme"
        assert by_hand(request.ainstance_lookup()).source is Source.CACHE
    assert hops == []


@pytest.mark.parametrize("kind", SHARED_CACHES)
@pytest.mark.parametrize("size", [0, 100])
async def test_shared_hit(
    kind: str, size: int, request: pytest.FixtureRequest, hops: list[str]
) -> None:
    """An entry that another process fetched costs one change to a thread."""
    with shared_cache(kind, request) as alias:
        one, other = (
            InstanceResolver(
                config_service_backend=Service(), cache_alias=alias, near_cache_size=size
            )
            for _ in range(2)
        )
        one.resolve(asks())
        hops.clear()
        assert (await other.aresolve(asks())).source is Source.CACHE
        assert hops == ["DaemonPool.submit"]


@pytest.mark.parametrize("kind", SHARED_CACHES)
async def test_shared_hits_share_a_hop(
    kind: str, request: pytest.FixtureRequest, hops: list[str]
) -> None:
    """Fifty instances are read in one hop, and each caller gets only what they may have."""
    names = [f"shared-{number}" for number in range(50)]
    with shared_cache(kind, request) as alias:
        one, other = (
            InstanceResolver(config_service_backend=Service(), cache_alias=alias) for _ in range(2)
        )
        one.cache.warm(map(config, names))
        hops.clear()
        contexts = [asks(user, name) for name in names for user in (OLGA, SAM)]
        found = await asyncio.gather(*map(other.aresolve, contexts), return_exceptions=True)
    for name, (mine, theirs) in zip(names, zip(found[::2], found[1::2], strict=True), strict=True):
        assert not isinstance(mine, BaseException)
        assert (mine.config.instance_id, mine.source) == (name, Source.CACHE)
        assert isinstance(theirs, AccessDenied)
    assert hops == ["DaemonPool.submit"]


async def test_shared_hit_of_a_request(service: Service, hops: list[str]) -> None:
    """A shared hit by ``request.ainstance_config()`` costs one change to a thread."""
    resolver = InstanceResolver(config_service_backend=service)
    resolver.resolve(asks())
    hops.clear()
    with replace_resolver(resolver):
        assert (await request_of(Somebody("olga")).ainstance_config()).instance_id == "acme"
    assert hops == ["DaemonPool.submit"]


class Slow:
    """A service that knows every instance, and answers in its time, or when ``released``."""

    def __init__(self, *, delay: float = 0.0) -> None:
        self.delay = delay
        self.released = threading.Event()
        if delay:
            self.released.set()

    def __call__(self, request: Received) -> Answer:
        assert self.released.wait(LONG)
        owner = {"owner": "olga"}
        body = {"instance_id": request.path.rpartition("/")[2], "metadata": owner}
        return Answer(200, json.dumps(body).encode(), delay=self.delay)


@contextmanager
def busy(kind: str, request: pytest.FixtureRequest, script: Slow) -> Iterator[InstanceResolver]:
    """Provide a resolver with a third of the ids in its near cache, a third in the shared one."""
    roomy = use_cache("locmem", MAX_ENTRIES=10 * CROWD)
    with (
        ScriptedServer(script) as server,
        roomy if kind == "locmem" else shared_cache(kind, request) as alias,
        resolver_on(server, alias, near_cache_size=CROWD, near_cache_ttl=LONG) as resolver,
    ):
        try:
            resolver.cache.warm(config(name) for name in (*NEAR, *SHARED))
            resolver.resolve(asks(OLGA, NEAR[0]))
            wait_until(lambda: is_heard(resolver))
            for name in NEAR:
                resolver.resolve(asks(OLGA, name))
            assert all(resolver.cache.tiers.near.get(name) for name in NEAR)
            yield resolver
        finally:
            script.released.set()


def is_heard(resolver: InstanceResolver) -> bool:
    """Tell whether the channel is up; without it a near entry is used for a second only."""
    channel = channel_of(resolver.settings.cache_alias)
    return channel is None or channel.sure_until > monotonic()


THIRD = range(CROWD // 3)
NEAR = [f"near-{number}" for number in THIRD]
SHARED = [f"shared-{number}" for number in THIRD]
ABSENT = [f"absent-{number}" for number in THIRD]
ALL = list(chain.from_iterable(zip(ABSENT, SHARED, NEAR, strict=True)))
"""Ids of the three kinds in turn, the slowest first, so that order favours no kind."""


async def lag_of(work: Awaitable[Any]) -> tuple[Any, float]:
    """Await ``work``, and return also by how much the event loop was late at worst."""
    due, worst = monotonic(), 0.0

    def late() -> float:
        return max(worst, monotonic() - due)

    async def tick() -> None:
        nonlocal due, worst
        while True:
            await asyncio.sleep(TICK)
            worst, due = late(), monotonic() + TICK

    ticking = asyncio.create_task(tick())
    try:
        return await work, late()
    finally:
        ticking.cancel()


@pytest.mark.parametrize("kind", SHARED_CACHES)
async def test_slow_fetches_hold_up_no_hit(kind: str, request: pytest.FixtureRequest) -> None:
    """Lookups that need no service are answered while hundreds wait for it."""
    script = Slow()
    with busy(kind, request, script) as resolver:
        tasks = {name: asyncio.create_task(resolver.aresolve(asks(OLGA, name))) for name in ALL}
        hits = [tasks[name] for name in (*NEAR, *SHARED)]
        found = await asyncio.wait_for(asyncio.gather(*hits), LONG)
        assert {result.source for result in found} == {Source.CACHE}
        assert not any(tasks[name].done() for name in ABSENT)
        script.released.set()
        found = await asyncio.wait_for(asyncio.gather(*tasks.values()), LONG)
    assert [result.config.instance_id for result in found] == list(tasks)


@pytest.mark.parametrize("kind", SHARED_CACHES)
async def test_event_loop_lag(kind: str, request: pytest.FixtureRequest) -> None:
    """A thousand lookups of all sorts on one loop, which never stands still for long."""
    with busy(kind, request, Slow(delay=SERVICE_TIME)) as resolver:
        began = monotonic()
        lookups = (resolver.aresolve(asks(OLGA, name)) for name in ALL)
        found, lag = await lag_of(asyncio.gather(*lookups))
        took = monotonic() - began
    assert [result.config.instance_id for result in found] == ALL
    sources = Counter(result.source for result in found)
    assert sources == {Source.CACHE: 2 * len(NEAR), Source.SERVICE: len(ABSENT)}
    assert lag < 5.0  # a second, on a busy machine
    assert took < LONG


async def test_threads_and_coroutines_share_a_flight() -> None:
    """Threads and coroutines that ask for one id at once share one request to the service."""
    script = Slow()
    with ScriptedServer(script) as server, resolver_on(server, "default") as resolver:

        def in_thread() -> LookupResult:
            return resolver.resolve(asks())

        sync = [asyncio.create_task(asyncio.to_thread(in_thread)) for _ in range(5)]
        tasks = [asyncio.create_task(resolver.aresolve(asks())) for _ in range(100)]
        everybody = len(sync) + len(tasks)
        await asyncio.to_thread(
            wait_until, lambda: resolver.get_cache_stats().misses == everybody, LONG
        )
        assert len(flights_of(resolver)) == 1
        script.released.set()
        found = await asyncio.gather(*sync, *tasks)
    assert {result.config.instance_id for result in found} == {"acme"}
    assert len(server.received) == 1
