"""hishel: an adapter of requests whose answers are on Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests
from hishel import RedisStorage
from hishel.requests import CacheAdapter
from redis import Redis

from benchmarks.work import decode

if TYPE_CHECKING:
    from collections.abc import Callable


class Session(requests.Session):
    """A session, and its storage, in which entries are deleted."""

    def __init__(self, redis_url: str, *, ttl: float = 300) -> None:
        super().__init__()
        self.trust_env = False  # spares the look at the environment for each request
        self.storage: Any = RedisStorage(Redis.from_url(redis_url), default_ttl=ttl)
        self.mount("http://", CacheAdapter(storage=self.storage))


def getter(made: Session, service_url: str) -> Callable[[str], Any]:
    """Return the read-through of a session; each instance under its own id as the key."""

    def get(instance_id: str) -> Any:
        response = made.get(
            f"{service_url}/instances/{instance_id}",
            headers={"X-Hishel-Key": instance_id},
            timeout=20,
        )
        response.raise_for_status()
        return decode(response.content)

    return get


def delete(made: Session, instance_id: str) -> None:
    for entry in made.storage.get_entries(instance_id):
        made.storage.remove_entry(entry.id)
