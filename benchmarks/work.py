"""The work of every contender: give the usable config object of an instance, 1.5 KB of JSON."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from django.test import override_settings

from instance_lookup import InstanceResolver, LookupContext, LookupUser
from instance_lookup.backends.base import ConfigServiceBackend, Document, Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instance_lookup.backends.base import Query

ID = "studio-a"
CONFIG: dict[str, Any] = {
    "instance_id": ID,
    "api_keys": {f"service-{n}": f"sk-{n:02d}-" + "x" * 40 for n in range(10)},
    "rate_limits": {f"service-{n}": {"rpm": 60, "rpm_burst": 90, "daily": 5000} for n in range(9)},
    "worker_urls": {f"service-{n}": f"https://worker-{n}.example.com/jobs" for n in range(4)},
    "r2_bucket": "studio-a-media",
    "metadata": {"name": "Studio A", "owner": "1", "tenant_id": "tenant-a"},
    "features": {"beta": True, "video": False, "export": True},
}


class Limit(msgspec.Struct):
    rpm: int
    rpm_burst: int | None = None
    daily: int | None = None


class Metadata(msgspec.Struct):
    name: str | None = None
    owner: str | None = None
    tenant_id: str | None = None


class Config(msgspec.Struct):
    """The config class of a peer's user: typed, not frozen, keys not hidden, and so cheaper."""

    instance_id: str
    api_keys: dict[str, str]
    rate_limits: dict[str, Limit]
    worker_urls: dict[str, str]
    r2_bucket: str
    metadata: Metadata
    features: dict[str, bool]


decode = msgspec.json.Decoder(Config).decode
encode = msgspec.json.encode


def body(instance_id: str = ID, *, kilobytes: int = 0, version: str = "") -> bytes:
    """Return the document of an instance; with ``kilobytes``, of that size by its many keys."""
    document = {**CONFIG, "instance_id": instance_id}
    if version:
        document["r2_bucket"] = version
    if kilobytes:
        smallest = {**document, "api_keys": {}, "rate_limits": {}}
        missing = max(0, 1024 * kilobytes - len(encode(smallest)))
        keys = {f"service-{n:04d}": f"sk-{n:04d}-" + "x" * 40 for n in range(missing // 66)}
        document = {**smallest, "api_keys": keys}
    return encode(document)


def context(instance_id: str = ID) -> LookupContext:
    """Return the context in which its owner asks."""
    return LookupContext(LookupUser("1"), instance_id)


class Fetching(ConfigServiceBackend):
    """A Config Service that is a function."""

    def __init__(self, fetch: Callable[[str], bytes]) -> None:
        self._fetch = fetch

    def get_instance(self, instance_id: str, query: Query) -> Document:
        return Document(self._fetch(instance_id))

    def get_project(self, project_id: str, query: Query) -> Document:
        raise NotImplementedError

    def list_instances(self, query: Query, cursor: str | None = None) -> Page:
        raise NotImplementedError


def resolver(
    fetch: Callable[[str], bytes] = body, *, near: bool = True, **options: Any
) -> InstanceResolver:
    """Return a resolver on the alias ``default``."""
    return InstanceResolver(
        **{
            "config_service_backend": Fetching(fetch),
            "config_service_timeout": 20,
            "near_cache_size": None if near else 0,  # the tests' settings have none
            **options,
        }
    )


@contextmanager
def caches_on(url: str) -> Iterator[None]:
    """Provide ``default`` (django-redis), ``builtin`` (Django's RedisCache), ``local`` (memory).

    None of them pickles what is on Redis. They have connections for a crowd, and time for it.
    """
    serializer = "instance_lookup.serializers.BytesSerializer"
    pool = {"max_connections": 50, "timeout": 20}
    django_redis = {
        "SERIALIZER": serializer,
        "CONNECTION_POOL_CLASS": "redis.connection.BlockingConnectionPool",
        "CONNECTION_POOL_KWARGS": pool,
        "SOCKET_CONNECT_TIMEOUT": 20,
        "SOCKET_TIMEOUT": 20,
    }
    backend = "django.core.cache.backends"
    caches = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": url,
            "OPTIONS": django_redis,
        },
        "builtin": {
            "BACKEND": f"{backend}.redis.RedisCache",
            "LOCATION": url,
            "OPTIONS": {"serializer": serializer},
            "KEY_PREFIX": "builtin",
        },
        "local": {"BACKEND": f"{backend}.locmem.LocMemCache", "LOCATION": "benchmarks"},
    }
    with override_settings(CACHES=caches):
        yield
