"""Whether the old document is served again if an instance is invalidated while it is fetched.

It does not depend on luck. The fetch holds the old document when the invalidation is made, and goes
on when that is done. Then the instance is read.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from django.core.cache import caches

from benchmarks import peers, work
from benchmarks.contenders import read_through
from benchmarks.results import Bound, Effort, Result
from benchmarks.rounds import Sample
from instance_lookup.testing.servers import Answer, ScriptedServer
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup.testing.servers import Received

    Get = Callable[[str], Any]
    Invalidate = Callable[[str], object]

OLD, NEW = "old", "new"


class Source:
    """The present document of each instance: the old one, until its first fetch is under way."""

    def __init__(self, redis_url: str) -> None:
        self.redis_url = redis_url
        self.service_url = ""
        self.invalidate: Invalidate = bool
        self._changed: set[str] = set()

    def fetch(self, instance_id: str) -> bytes:
        """Return the document; the first time with the change, and its invalidation, behind it."""
        name = instance_id.rpartition(":")[2]
        if name in self._changed:
            return work.body(name, version=NEW)
        found = work.body(name, version=OLD)
        self._changed.add(name)
        self.invalidate(instance_id)
        return found

    def answer(self, request: Received) -> Answer:
        """Do the same over HTTP."""
        return Answer(body=self.fetch(request.path.rpartition("/")[2]))


def measure(effort: Effort) -> list[Result]:
    races = 20 if effort.quick else 1_000
    samples: dict[str, Sample] = {}
    missing: tuple[str, ...] = ()
    with RedisServer() as redis, work.caches_on(redis.url()):
        for name, maker in MAKERS.items():
            source = Source(redis.url())
            with ScriptedServer(source.answer) as service:
                source.service_url = service.url
                made, lacking = peers.build_all({name: partial(maker, source)})
                missing += lacking
                for get in made.values():
                    samples[name] = Sample((_race(get, races),))
    return [
        Result(
            title=f"Invalidated during a fetch, {races:,} races: served again",
            unit="times",
            samples=samples,
            ours=("resolve()", "await aresolve()"),
            bounds=(Bound("resolve()", 0), Bound("await aresolve()", 0)),
            placement="on all cores",
            missing=missing,
        )
    ]


def _race(get: Get, races: int) -> float:
    """Return how often a read that began after the invalidation got what was invalidated."""
    again = 0
    for number in range(races):
        get(f"race-{number}")
        again += get(f"race-{number}") == OLD
    return float(again)


def _resolve(source: Source) -> Get:
    # Invalidated by another resolver than the one that fetches, as by another process.
    here, there = work.resolver(source.fetch, refresh_ahead=None), work.resolver()
    source.invalidate = there.invalidate_cache
    return lambda name: here.resolve(work.context(name)).config.r2_bucket


def _aresolve(source: Source) -> Get:
    here, there = work.resolver(source.fetch, refresh_ahead=None), work.resolver()
    source.invalidate = there.invalidate_cache
    loop = asyncio.new_event_loop()

    async def get(name: str) -> str:
        found = await here.aresolve(work.context(name))
        return found.config.r2_bucket

    return lambda name: loop.run_until_complete(get(f"a{name}"))


def _naive(source: Source) -> Get:
    source.invalidate = lambda name: caches["default"].delete(f"naive:{name}")
    return lambda name: read_through(source.fetch, name).r2_bucket


def _dogpile(source: Source) -> Get:
    peer = peers.load("dogpile")
    region = peer.redis_region(source.redis_url, distributed_lock=True)
    source.invalidate = region.delete
    get = peer.getter(region, source.fetch)
    return lambda name: get(f"dogpile:{name}").r2_bucket


def _cashews(source: Source, **options: Any) -> Get:
    peer = peers.load("cashews")
    loop = asyncio.new_event_loop()
    cache = peer.cache_on(loop, source.redis_url, client_side=True)
    writer = peer.cache_on(loop, source.redis_url, client_side=True)

    async def fetch(instance_id: str) -> bytes:
        waiting: list[str] = []
        source.invalidate = waiting.append
        found = source.fetch(instance_id)
        for key in waiting:
            await writer.delete(key)
        return found

    get = peer.getter(cache, fetch, **options)

    async def seen(name: str) -> str:
        return str((await get(f"cashews:{name}")).r2_bucket)

    return lambda name: loop.run_until_complete(seen(name))


def _requests_cache(source: Source) -> Get:
    peer = peers.load("requests_cache")
    session = peer.session(source.redis_url)
    source.invalidate = lambda name: peer.delete(session, f"{source.service_url}/instances/{name}")
    get = peer.getter(session, source.service_url)
    return lambda name: get(name).r2_bucket


def _hishel(source: Source) -> Get:
    peer = peers.load("hishel")
    session = peer.Session(source.redis_url)
    source.invalidate = lambda name: peer.delete(session, name)
    get = peer.getter(session, source.service_url)
    return lambda name: get(name).r2_bucket


MAKERS: dict[str, Callable[[Source], Get]] = {
    "naive": _naive,
    "dogpile": _dogpile,
    "cashews, client side": _cashews,
    "cashews, client side, lock": partial(_cashews, lock=True),
    "requests-cache": _requests_cache,
    "hishel": _hishel,
    "resolve()": _resolve,
    "await aresolve()": _aresolve,
}
