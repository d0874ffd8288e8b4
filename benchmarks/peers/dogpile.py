"""dogpile.cache: a region in memory that holds ready objects, or one on Redis that holds JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dogpile.cache import make_region
from redis import BlockingConnectionPool

from benchmarks.work import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

TTL = 300


def memory_region() -> Any:
    """Return a region without serialization: the object that was put in comes out."""
    return make_region().configure("dogpile.cache.memory", expiration_time=TTL)


def redis_region(url: str, *, distributed_lock: bool = False, ttl: float = TTL) -> Any:
    """Return a region whose values are JSON, decoded by msgspec into the typed object.

    The distributed lock waits in steps of 100 ms, its default: where 200 threads look every 10 ms
    they take each other's time, and wait many times as long.
    """
    arguments: dict[str, Any] = {
        "connection_pool": BlockingConnectionPool.from_url(url, max_connections=50, timeout=20)
    }
    if distributed_lock:
        arguments |= {
            "distributed_lock": True,
            "thread_local_lock": False,
            "lock_timeout": 30,
        }
    return make_region(serializer=encode, deserializer=decode).configure(
        "dogpile.cache.redis", expiration_time=ttl, arguments=arguments
    )


def getter(region: Any, fetch: Callable[[str], bytes]) -> Callable[[str], Any]:
    """Return the read-through of a region."""

    def create(instance_id: str) -> Any:
        return decode(fetch(instance_id))

    def get(instance_id: str) -> Any:
        return region.get_or_create(instance_id, create, creator_args=((instance_id,), {}))

    return get
