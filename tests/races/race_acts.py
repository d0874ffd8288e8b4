"""Ways to fetch, and what may happen meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from asgiref.sync import async_to_sync

from instance_lookup import InstanceConfig, InstanceLookupError, InstanceNotFound
from tests.support.lookups import acme, asks

if TYPE_CHECKING:
    from tests.races.races import Race


def ask(race: Race) -> str:
    """Return the version that a lookup gets, or the name of its error."""
    return race.seen(race.here)


def aask(race: Race) -> str:
    """Return the version that a lookup in a coroutine gets, or the name of its error."""
    try:
        return async_to_sync(race.here.aresolve)(asks()).config.r2_bucket
    except InstanceLookupError as exc:
        return type(exc).__name__


def close_gate(race: Race) -> None:
    """Have the service answer users only once the gate is open."""
    race.service.reached.clear()
    race.service.gate.clear()


def foreground(race: Race) -> None:
    """A lookup with nothing cached."""
    race.seen(race.here)


def stale(race: Race) -> None:
    """A lookup while the copy is stale."""
    race.clock.now += 300
    race.seen(race.here)


def refresh_ahead(race: Race) -> None:
    """A lookup of an entry that is about to become stale."""
    race.clock.now += 299.99
    race.seen(race.here)


def background(race: Race) -> None:
    """The caller is answered after the soft timeout, and the fetch goes on in the background."""
    race.clock.now += 300
    close_gate(race)
    race.seen(race.here)
    assert race.service.reached.wait(10)
    race.service.gate.set()


def cancelled(race: Race) -> None:
    """A coroutine's lookup is cancelled, and the fetch goes on."""
    reached = race.service.reached

    async def give_up() -> None:
        asking = asyncio.ensure_future(race.here.aresolve(asks()))
        asking.add_done_callback(lambda _: reached.set())
        assert await asyncio.to_thread(reached.wait, 10)
        asking.cancel()
        with suppress(asyncio.CancelledError, InstanceNotFound):
            await asking

    race.clock.now += 300
    close_gate(race)
    asyncio.run(give_up())
    race.service.gate.set()


def warming(race: Race) -> None:
    """The site itself fetches, with or without an entry in the cache."""
    with suppress(InstanceNotFound):
        race.here.refresh("acme")


def by_hand(race: Race) -> None:
    """A caller reads the generation, fetches without the resolver, and stores the answer."""
    generation = race.here.cache.generation("acme")
    race.service.on("before the fetch")
    fields = race.service.instances.get("acme")
    race.service.on("after the fetch")
    if fields is not None:
        config = msgspec.convert(fields, InstanceConfig)
        race.here.cache.set("acme", config, generation=generation)


WAYS = (foreground, stale, refresh_ahead, background, cancelled, warming, by_hand)
"""To fetch; all but the first, what was cached before."""


def invalidate(race: Race) -> None:
    """The instance changes and is invalidated: the old version must not be served again."""
    race.service.instances["acme"] = acme("second")
    race.there.invalidate_cache("acme")


def invalidate_all(race: Race) -> None:
    """The instance changes and everything is invalidated."""
    race.service.instances["acme"] = acme("second")
    race.there.invalidate_all_caches()


def refill(race: Race) -> None:
    """Invalidate and fetch again, before the older answer is stored."""
    invalidate(race)
    race.there.refresh("acme")


def see_deleted(race: Race) -> None:
    """The instance is deleted, and another process gets the 404."""
    race.service.instances.clear()
    with suppress(InstanceNotFound):
        race.there.refresh("acme")


def expire(race: Race) -> None:
    """The instance changes and is expired."""
    race.service.instances["acme"] = acme("second")
    race.there.cache.expire("acme")


ACTS = (invalidate, invalidate_all, refill, see_deleted, expire)
