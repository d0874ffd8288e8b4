"""Many callers at one moment, and a service that answers when all of them are there."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import InstanceLookupError, InstanceResolver, LookupResult
from tests.support.caches import use_cache
from tests.support.insides import disconnect, flights_of
from tests.support.lookups import ACME
from tests.support.servers import Answer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from instance_lookup import LookupContext
    from tests.support.servers import Received, Script, ScriptedServer

Told = LookupResult | InstanceLookupError
"""What came of a lookup."""

GOOD = Answer(200, json.dumps(ACME).encode())
LONG = 30.0
"""Seconds that are enough on any machine; a test that passes does not wait so long."""
SHARED_CACHES = ["locmem", pytest.param("django-redis", marks=pytest.mark.extras)]


def in_threads(resolver: InstanceResolver, contexts: Sequence[LookupContext]) -> list[Told]:
    """Look up each context in a thread of its own; return what came of them, in order."""
    with ThreadPoolExecutor(len(contexts)) as pool:
        return list(pool.map(partial(_told, resolver), contexts))


def in_coroutines(resolver: InstanceResolver, contexts: Sequence[LookupContext]) -> list[Told]:
    """Look up each context in a coroutine of its own, all on one event loop."""

    async def look_up() -> list[Any]:
        lookups = (resolver.aresolve(context) for context in contexts)
        return await asyncio.gather(*lookups, return_exceptions=True)

    return asyncio.run(look_up())


def mixed(resolver: InstanceResolver, contexts: Sequence[LookupContext]) -> list[Told]:
    """Look up one half in threads and the other in coroutines."""
    half = len(contexts) // 2
    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(in_coroutines, resolver, contexts[half:])
        return in_threads(resolver, contexts[:half]) + others.result(2 * LONG)


CROWDS = [in_threads, in_coroutines, mixed]


def waiting(resolver: InstanceResolver, callers: int) -> Callable[[], bool]:
    """Return the condition that so many callers wait for fetches that are under way."""

    def all_wait() -> bool:
        futures: list[Any] = [flight.future for flight in flights_of(resolver)]
        # Threads wait by the one, coroutines by the other. A flight may wait for another flight.
        waiters = (len(future._waiters) + len(future._done_callbacks) for future in futures)
        chained = (
            isinstance(each, partial) for future in futures for each in future._done_callbacks
        )
        return sum(waiters) - sum(chained) == callers

    return all_wait


def when(condition: Callable[[], object], answer: Script) -> Callable[[Received], Script]:
    """Return a script that gives ``answer`` once the condition is true."""

    def script(request: Received) -> Script:
        wait_until(condition, LONG)
        return answer

    return script


@contextmanager
def shared_cache(kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Provide an empty cache that a thousand callers on a busy machine do not time out on."""
    if kind == "locmem":
        with use_cache(kind) as alias:
            yield alias
        return
    url = request.getfixturevalue("redis_server").url()
    with use_cache(kind, redis_url=url, **patient_redis()) as alias:
        yield alias


def patient_redis() -> dict[str, Any]:
    """Return options of django-redis: connections that are waited for, and seldom time out."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    pool = {"max_connections": 50, "timeout": LONG, "retry": Retry(NoBackoff(), 0)}
    return {
        "CONNECTION_POOL_CLASS": "redis.connection.BlockingConnectionPool",
        "CONNECTION_POOL_KWARGS": pool,
        "SOCKET_CONNECT_TIMEOUT": LONG,
        "SOCKET_TIMEOUT": LONG,
    }


@contextmanager
def resolver_on(server: ScriptedServer, alias: str, **options: Any) -> Iterator[InstanceResolver]:
    """Provide a resolver with time enough, and close its connections."""
    resolver = InstanceResolver(
        **{
            "config_service_url": server.url,
            "config_service_timeout": LONG,
            "cache_alias": alias,
            **options,
        }
    )
    try:
        yield resolver
    finally:
        disconnect(resolver.backend)


def _told(resolver: InstanceResolver, context: LookupContext) -> Told:
    try:
        return resolver.resolve(context)
    except InstanceLookupError as exc:
        return exc
