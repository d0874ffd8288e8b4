"""A cached ``resolve()`` on django-redis, against one GET of the document and decoding it.

It asks for four keys in one command, and what has not changed since it was last decoded is not
decoded again.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import redis
from django.core.cache import caches

from benchmarks import peers, work
from benchmarks.machine import cores, redis_on
from benchmarks.results import Bound, Effort, Result
from benchmarks.rounds import awaited, interleaved, repeated
from instance_lookup import InstanceConfig
from instance_lookup.testing import FakeConfigService

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

KEYS = (
    f"instance_config:{work.ID}",
    "instance_generation",
    f"instance_generation:{work.ID}",
    f"instance_expiry:{work.ID}",
)
FLOOR = "redis-py GET + msgspec"
BOUNDS = (
    Bound("resolve()", 1, "dogpile"),
    Bound("resolve()", 1, "get_many + decode"),
    Bound("resolve()", 1, "Django's RedisCache"),
    Bound("resolve()", 1, "cashews"),
)


class Entry(msgspec.Struct):
    """The stored entry, decoded in one go: the least that this can cost.

    All of it: without the time at which it was asked for, it is not known whether it is fresh.
    """

    v: int
    instance_id: str
    config: InstanceConfig
    cached_at: float
    ttl: float
    generation: str
    etag: str | None


def measure(effort: Effort) -> list[Result]:
    one, other = cores()
    results = [_measure(effort, client=one, server=one)]
    if other != one:
        results.append(_measure(effort, client=one, server=other))
    return results


def _measure(effort: Effort, *, client: int, server: int) -> Result:
    loop = asyncio.new_event_loop()
    with (
        redis_on(server, client=client) as redis_server,
        work.caches_on(redis_server.url()),
        FakeConfigService({work.ID: work.CONFIG}) as service,
    ):
        contenders, missing = _contenders(loop, redis_server.url(), service.url)
        samples = interleaved(contenders, rounds=effort.rounds(40), calls=effort.calls(500))
        assert len(service.requests) <= 2, "a peer asked the service instead of its cache"
    where = "one core" if client == server else "two cores"
    return Result(
        title=f"A shared hit on Redis, client and server on {where}",
        unit="µs",
        samples=samples,
        ours=("resolve()",),
        against=FLOOR,
        bounds=(Bound("resolve()", 1.35 if client == server else 1.2, FLOOR), *BOUNDS),
        placement=f"client on core {client}, server on core {server}",
        missing=missing,
    )


def _contenders(
    loop: AbstractEventLoop, url: str, service_url: str
) -> tuple[dict[str, Callable[[int], object]], tuple[str, ...]]:
    return peers.build_all(
        {
            "redis-py GET": lambda: _redis(url, decode=bytes),
            FLOOR: lambda: _redis(url, decode=work.decode),
            "django-redis get + msgspec": lambda: _django("default"),
            "dogpile": lambda: _dogpile(url),
            "Django's RedisCache": lambda: _django("builtin"),
            "cashews": lambda: _cashews(loop, url),
            "requests-cache": lambda: _session("requests_cache", url, service_url),
            "hishel": lambda: _session("hishel", url, service_url),
            "get_many + decode": _floor,
            "resolve()": _resolve,
        }
    )


def _redis(url: str, *, decode: Callable[[bytes], Any]) -> Callable[[int], object]:
    client: Any = redis.Redis.from_url(url)
    client.set("bare", work.body())
    return repeated(lambda: decode(client.get("bare")))


def _django(alias: str) -> Callable[[int], object]:
    cache = caches[alias]
    cache.set("peer", work.body().decode(), None)  # a loaded machine takes longer than 300 s
    return repeated(lambda: work.decode(cache.get("peer")))


def _dogpile(url: str) -> Callable[[int], object]:
    dogpile = peers.load("dogpile")
    get = dogpile.getter(dogpile.redis_region(url), work.body)
    return repeated(partial(get, f"dogpile:{work.ID}"))


def _cashews(loop: AbstractEventLoop, url: str) -> Callable[[int], object]:
    cashews = peers.load("cashews")
    get = cashews.getter(cashews.cache_on(loop, url), cashews.in_thread(work.body))
    return awaited(loop, lambda: get(f"cashews:{work.ID}"))


def _session(library: str, url: str, service_url: str) -> Callable[[int], object]:
    peer = peers.load(library)
    make = peer.session if library == "requests_cache" else peer.Session
    get = peer.getter(make(url), service_url)
    return repeated(lambda: get(work.ID))


def _floor() -> Callable[[int], object]:
    work.resolver(near=False).resolve(work.context())
    cache, decode = caches["default"], msgspec.json.Decoder(Entry).decode

    def get() -> InstanceConfig:
        found = cache.get_many(KEYS)
        return decode(found[KEYS[0]]).config

    assert get() == work.resolver(near=False).resolve(work.context()).config
    return repeated(get)


def _resolve() -> Callable[[int], object]:
    resolver, context = work.resolver(near=False), work.context()
    return repeated(lambda: resolver.resolve(context))
