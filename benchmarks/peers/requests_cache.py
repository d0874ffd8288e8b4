"""requests-cache: a session whose answers are on Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis import Redis
from requests_cache import CachedSession, RedisCache

from benchmarks.work import decode

if TYPE_CHECKING:
    from collections.abc import Callable


def session(redis_url: str, *, ttl: float = 300) -> Any:
    """Return a session that may answer with a stale copy when the service fails."""
    backend = RedisCache(connection=Redis.from_url(redis_url))
    made = CachedSession(backend=backend, expire_after=ttl, stale_if_error=True)
    made.trust_env = False  # spares the look at the environment for each request
    return made


def getter(made: Any, service_url: str) -> Callable[[str], Any]:
    """Return the read-through of a session."""

    def get(instance_id: str) -> Any:
        response = made.get(f"{service_url}/instances/{instance_id}", timeout=20)
        response.raise_for_status()
        return decode(response.content)

    return get


def delete(made: Any, url: str) -> None:
    made.cache.delete(urls=[url])
