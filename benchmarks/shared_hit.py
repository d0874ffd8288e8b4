"""A cached ``resolve()`` on django-redis, against reading the same keys and decoding the entry.

It can take less: what has not changed since it was last decoded is not decoded again.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec
import redis
from django.core.cache import caches
from django.test import override_settings

from benchmarks.rounds import Timing, interleaved
from instance_lookup import InstanceConfig, InstanceResolver, LookupContext, LookupUser
from instance_lookup.backends.memory import DictConfigService
from tests.caches import cache_config
from tests.redis_server import RedisServer

CONFIG: dict[str, Any] = {
    "instance_id": "studio-a",
    "api_keys": {f"service-{n}": f"sk-{n:02d}-" + "x" * 40 for n in range(8)},
    "rate_limits": {f"service-{n}": {"rpm": 60, "rpm_burst": 90, "daily": 5000} for n in range(8)},
    "worker_urls": {f"service-{n}": f"https://worker-{n}.example.com/jobs" for n in range(4)},
    "r2_bucket": "studio-a-media",
    "metadata": {"name": "Studio A", "owner": "1", "tenant_id": "tenant-a"},
    "features": {"beta": True, "video": False, "export": True},
}
"""Some 1.5 KB of JSON."""


class Entry(msgspec.Struct):
    """The stored entry, decoded in one go: the least that this can cost.

    All of it: whoever does not know when it was asked for does not know whether it is fresh.
    """

    v: int
    instance_id: str
    config: InstanceConfig
    cached_at: float
    ttl: float
    generation: str
    etag: str | None


def measure(*, rounds: int = 40, calls: int = 500) -> dict[str, Timing]:
    """Time them with client and server on one core, where a round trip is shortest."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the server inherits it
    with RedisServer() as server:
        options: dict[str, Any] = {"SERIALIZER": "instance_lookup.serializers.BytesSerializer"}
        default = cache_config("django-redis", redis_url=server.url(), **options)
        with override_settings(CACHES={"default": default}):
            return interleaved(_contenders(server), rounds=rounds, calls=calls)


def _contenders(server: RedisServer) -> dict[str, Any]:
    service = DictConfigService({"studio-a": CONFIG})
    resolver = InstanceResolver(config_service_backend=service)
    context = LookupContext(LookupUser("1"), "studio-a")
    resolver.resolve(context)
    cache = caches["default"]
    keys = (
        "instance_config:studio-a",
        "instance_generation",
        "instance_generation:studio-a",
        "instance_expiry:studio-a",
    )
    bare, bare_key = redis.Redis.from_url(server.url()), cache.make_key(keys[0])
    decode = msgspec.json.Decoder(Entry).decode

    def floor() -> InstanceConfig:
        found = cache.get_many(keys)
        return decode(found[keys[0]]).config

    assert floor() == resolver.resolve(context).config
    assert len(service.calls) == 1
    return {
        "redis-py GET": lambda: bare.get(bare_key),
        "get_many + decode": floor,
        "resolve()": lambda: resolver.resolve(context),
    }
