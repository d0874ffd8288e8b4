"""The cache alias: does it keep what it is given, and is it set up for us."""

from __future__ import annotations

from contextlib import closing, suppress
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING, Any

from django.core.cache import caches
from django.core.cache.backends.db import BaseDatabaseCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.memcached import BaseMemcachedCache

from instance_lookup.cache.keyvalue import key_values
from instance_lookup.cache.pubsub import DOUBTFUL, channel_of
from instance_lookup.cache.redis_client import client_of
from instance_lookup.exceptions import forget_locals
from instance_lookup.operations.doctor.findings import Finding, Level, error, ok, skipped, warning
from instance_lookup.operations.doctor.measures import milliseconds
from instance_lookup.operations.doctor.probing import GRACE, Hangs, bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.core.cache.backends.base import BaseCache

    from instance_lookup.operations.doctor.settings import Advice
    from instance_lookup.resolver import InstanceResolver

_VALUE = '{"doctor": true}'
_LIFE = 60
"""Seconds after which the key is gone by itself, if it cannot be deleted."""
_PULSE = 0.1
_LOCAL = (LocMemCache, FileBasedCache, BaseDatabaseCache)
"""They count their keys, and drop some when there are too many."""


def cache_probes(
    resolver: InstanceResolver, advice: Advice, listed: int | None
) -> Iterator[Finding]:
    """Look at the cache of ``resolver``.

    ``advice`` is what the system checks say of it. ``listed`` is how many instances the first page
    of the service's list names; ``None``: not known.
    """
    alias, seconds = resolver.settings.cache_alias, resolver.settings.config_service_timeout
    cache = caches[alias]
    yield (trip := _bounded("round trip", lambda: _round_trip(alias), seconds))
    yield from _set_up(cache, advice)
    for probe, look in (
        ("pub/sub", lambda: _pub_sub(resolver, seconds)),
        ("eviction", lambda: _eviction(alias, listed)),
    ):
        if trip.level is Level.ERROR:
            yield skipped(probe, "the cache does not do what it is told, see round trip")
        else:
            yield _bounded(probe, look, seconds)


def _bounded(probe: str, look: Callable[[], Finding], seconds: float) -> Finding:
    try:
        return bounded(look, seconds + GRACE)
    except Hangs:
        return error(
            probe,
            f"the cache does not answer within {seconds:g} s",
            "Check that its server is up. Set the timeouts of its client: each request waits.",
        )
    except Exception as exc:  # noqa: BLE001  # whatever the backend raises
        forget_locals(exc)
        do = "Check LOCATION, and that its server is up; lookups go to the service meanwhile."
        return error(probe, f"the cache failed ({type(exc).__name__})", do)


def _round_trip(alias: str) -> Finding:
    store, key = key_values[alias], f"instance_doctor:{token_hex(8)}"
    if store.keeps_nothing:
        do = "Name another alias in CACHE_ALIAS: each lookup asks the service."
        return warning("round trip", f"{alias!r} keeps nothing by design", do)
    began = monotonic()
    store.set(key, _VALUE, _LIFE)
    try:
        found = store.get(key)
    finally:
        with suppress(Exception):  # it goes by itself
            store.delete(key)
    text = found.decode(errors="replace") if isinstance(found, bytes) else found
    if text != _VALUE:
        return error(
            "round trip",
            f"what was written to {alias!r} is not there",
            "Look whether it is full, or a replica, or whether its client hides errors.",
        )
    took = monotonic() - began
    seen = f"{alias!r} keeps what is written: set, get and delete in {milliseconds(took)}"
    return ok("round trip", seen, seconds=round(took, 6))


def _set_up(cache: BaseCache, advice: Advice) -> Iterator[Finding]:
    """Tell how the alias is set up; of a cache of an unknown kind, only what is wrong with it."""
    name = type(cache).__name__
    is_local, is_memcached = isinstance(cache, _LOCAL), isinstance(cache, BaseMemcachedCache)
    is_redis = client_of(cache) is not None
    yield advice.finding("shared", "W003", f"all processes share a {name}")
    if is_local:
        yield skipped("timeouts", f"{name} has no server of its own")
    else:
        fine = "the client has all that it needs" if is_memcached or is_redis else ""
        yield advice.finding("timeouts", "W005", fine)
    fine = "entries are JSON, and no pickle" if is_redis else ""
    if is_local or is_memcached:
        fine = f"{name} unpickles what it reads: only this site may write to it"
    yield advice.finding("pickle", "W004", fine)
    if is_memcached:
        yield advice.finding("servers", "W007", "one memcached")
    else:
        yield skipped("servers", f"{name} is not memcached")
    yield advice.finding("instrumentation", "W010", "what watches the client sees no API key")


def _pub_sub(resolver: InstanceResolver, seconds: float) -> Finding:
    """Hear an invalidation of an id that does not exist, as processes hear of each other's."""
    alias = resolver.settings.cache_alias
    channel, asked = channel_of(alias), f"doctor-{token_hex(8)}"
    if channel is None:
        fine = "this backend has none: no near cache is kept, unless NEAR_CACHE_SIZE says so"
        return skipped("pub/sub", fine)
    if not resolver.selector.is_id(asked):  # it would mean "all instances"
        return skipped("pub/sub", "INSTANCE_ID_PATTERN allows no id that is made up")
    verb, message = "SUBSCRIBE", f"instance:{asked}".encode()
    until = monotonic() + seconds
    try:
        with closing(client_of(caches[alias]).pubsub()) as pubsub:
            pubsub.subscribe(channel.name)
            heard = _hear(pubsub, until, "subscribe", None)
            verb = "PUBLISH"
            key_values[alias].publish(channel.name, message)
            heard = heard and _hear(pubsub, until, "message", message)
    except Exception as exc:  # noqa: BLE001  # whatever the client raises
        forget_locals(exc)
        late = {"SUBSCRIBE": f"{DOUBTFUL:g} s at most", "PUBLISH": "NEAR_CACHE_TTL more"}[verb]
        return warning(
            "pub/sub",
            f"{verb} failed ({type(exc).__name__}): copies in memory are used for {late}",
            f"Let the user of CACHES[{alias!r}] {verb} on {channel.name!r}.",
        )
    if not heard:
        do = "Name the primary in LOCATION, and the same server for all processes."
        return warning("pub/sub", f"nothing came back on {channel.name!r}", do)
    return ok("pub/sub", f"an invalidation is heard on {channel.name!r}")


def _hear(pubsub: Any, until: float, kind: str, data: bytes | None) -> bool:
    while monotonic() < until:
        message = pubsub.get_message(timeout=_PULSE)
        if message and message["type"] == kind:
            came = message["data"]
            if data is None or data in (came, str(came).encode()):
                return True
    return False


def _eviction(alias: str, listed: int | None) -> Finding:
    cache = caches[alias]
    if isinstance(cache, _LOCAL):
        return _judge_room(int(getattr(cache, "_max_entries", 0)), listed)
    if isinstance(cache, BaseMemcachedCache):
        return ok("eviction", "memcached drops what was used least recently")
    client = client_of(cache)
    if client is None:
        return skipped("eviction", f"not known of a {type(cache).__name__}")
    try:
        memory = client.info("memory")
    except Exception as exc:  # noqa: BLE001  # whatever the client raises
        forget_locals(exc)
        name = type(exc).__name__
        why = "the cache's user may not ask (INFO)" if "Permission" in name else name
        do = "Look at maxmemory-policy as another user: allkeys-lru is right for a cache."
        return skipped("eviction", f"the server does not tell: {why}", do)
    return judge_eviction(memory.get("maxmemory_policy"), memory.get("maxmemory"))


def judge_eviction(policy: object, limit: object) -> Finding:
    """Judge ``maxmemory-policy`` and ``maxmemory`` (bytes), as a Redis or Valkey tells them."""
    if not isinstance(policy, str):
        return skipped("eviction", "the server does not tell its maxmemory-policy")
    if not limit:
        return ok("eviction", f"{policy}; there is no maxmemory, so nothing is evicted")
    seen = f"{policy}, at {limit} bytes"
    do = "Set maxmemory-policy to allkeys-lru, with a Redis or Valkey for caches only."
    if policy == "noeviction":
        full = f"{seen}: when it is full, writes fail, and invalidations with them"
        return warning("eviction", full, do)
    if policy.endswith("random"):
        return warning("eviction", f"{seen}: what is in use may go, and be fetched again", do)
    return ok("eviction", seen)


def _judge_room(most: int, listed: int | None) -> Finding:
    # An entry and its generation each, beside the generation of all. Those that know a project
    # have more.
    room = (most - 1) // 2
    seen = f"MAX_ENTRIES is {most}: {room} instances at most"
    if listed is not None and listed > room:
        do = "Raise MAX_ENTRIES in OPTIONS: entries are dropped at random, and fetched again."
        return warning("eviction", f"{seen}; the list names {listed}", do, room=room)
    return ok("eviction", seen, room=room)
