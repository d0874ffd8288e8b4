"""The service fails, the entry is stale, and twenty readers come one after the other."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from time import sleep
from typing import TYPE_CHECKING, Any

import requests
from django.core.cache import caches

from benchmarks import peers, work
from benchmarks.contenders import store
from benchmarks.results import Bound, Effort, Result
from benchmarks.rounds import Sample
from instance_lookup.testing import FakeConfigService
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable

    Get = Callable[[str], Any]

READS = 20
TTL = 1.0
"""Seconds after which every contender's entry is stale; requests-cache takes whole ones."""


class World:
    """A Redis, and for each contender a service of its own, which counts."""

    def __init__(self, redis_url: str, service: FakeConfigService) -> None:
        self.redis_url = redis_url
        self.service = service
        self._session = requests.Session()
        self._session.trust_env = False

    def fetch(self, instance_id: str) -> bytes:
        response = self._session.get(f"{self.service.url}/instances/{work.ID}", timeout=20)
        response.raise_for_status()
        return response.content


def measure(_: Effort) -> list[Result]:
    calls: dict[str, Sample] = {}
    answers: dict[str, Sample] = {}
    missing: tuple[str, ...] = ()
    with RedisServer() as redis, work.caches_on(redis.url()):
        for name, maker in MAKERS.items():
            with FakeConfigService({work.ID: work.CONFIG}) as service:
                made, lacking = peers.build_all({name: partial(maker, World(redis.url(), service))})
                missing += lacking
                for get in made.values():
                    called, answered = _suffer(get, service)
                    calls[name], answers[name] = Sample((called,)), Sample((answered,))
    shared: dict[str, Any] = {"ours": ("resolve()",), "missing": missing}
    return [
        Result(
            title=f"Service down, {READS} reads of a stale entry: calls of the service",
            unit="calls",
            samples=calls,
            bounds=(Bound("resolve()", 1),),
            placement="on all cores",
            **shared,
        ),
        Result(
            title=f"Service down, {READS} reads of a stale entry: reads that were answered",
            unit="answers",
            samples=answers,
            bounds=(Bound("resolve()", READS, at_least=True),),
            **shared,
        ),
    ]


def _suffer(get: Get, service: FakeConfigService) -> tuple[float, float]:
    """Return how often the service was asked while it was down, and how many were answered."""
    get(work.ID)
    sleep(1.2 * TTL)
    service.fail(503)
    before, answered = len(service.requests), 0
    for _ in range(READS):
        with suppress(Exception):  # whatever it raises, it is no answer
            answered += get(work.ID) is not None
    return float(len(service.requests) - before), float(answered)


def _resolve(world: World) -> Get:
    backend = "instance_lookup.backends.http.HttpConfigService"
    resolver = work.resolver(
        config_service_backend=backend,
        config_service_url=world.service.url,
        cache_ttl=TTL,
        refresh_ahead=None,
    )
    return lambda instance_id: resolver.resolve(work.context(instance_id))


def _naive(world: World) -> Get:
    """Return what is often written: a second, older copy for when fetching fails."""

    def get(instance_id: str) -> work.Config:
        found = caches["default"].get(f"naive:{instance_id}")
        if found is None:
            try:
                found = store(instance_id, world.fetch(instance_id), TTL)
                caches["default"].set("naive copy", found.decode(), 3600)
            except requests.RequestException:
                found = caches["default"].get("naive copy")
        return work.decode(found)

    return get


def _dogpile(world: World) -> Get:
    peer = peers.load("dogpile")
    get: Get = peer.getter(peer.redis_region(world.redis_url, ttl=TTL), world.fetch)
    return get


def _cashews(world: World) -> Get:
    peer = peers.load("cashews")
    loop = asyncio.new_event_loop()
    cache = peer.cache_on(loop, world.redis_url)
    get = peer.failing_over(cache, peer.in_thread(world.fetch), ttl=TTL)
    return lambda instance_id: loop.run_until_complete(get(f"cashews:{instance_id}"))


def _requests_cache(world: World) -> Get:
    peer = peers.load("requests_cache")
    get: Get = peer.getter(peer.session(world.redis_url, ttl=int(TTL)), world.service.url)
    return get


MAKERS: dict[str, Callable[[World], Get]] = {
    "naive, with a stale copy": _naive,
    "dogpile": _dogpile,
    "cashews failover": _cashews,
    "requests-cache stale_if_error": _requests_cache,
    "resolve()": _resolve,
}
