"""What may be wrong with a stored value, on every kind of cache: it costs a hit at most."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.memcached import BaseMemcachedCache, PyMemcacheCache
from django.db import connection

from instance_lookup import (
    InstanceConfig,
    InstanceResolver,
    Source,
)
from tests.support.caches import TABLE, stored
from tests.support.lookups import Service, acme, asks, bucket

ENTRY = "instance_config:acme"
OWN = "instance_generation:acme"
EVERYTHING = "instance_generation"
EXPIRY = "instance_expiry:acme"


class WithPlan(InstanceConfig, frozen=True, kw_only=True):
    plan: str = "free"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"v":1', '"v":2'),
        ('{"v":1,"instance_id":"acme"', '{"v":1,"instance_id":"other"'),
        ('"config":{"instance_id":"acme"', '"config":{"instance_id":"other"'),
        ('"cached_at":', '"cached_at":"yesterday","was":'),
        ('"api_keys":{', '"api_keys":[],"was":{'),
        ("{", "["),
    ],
)
def test_foreign_entry(
    resolver: InstanceResolver, service: Service, alias: str, old: str, new: str
) -> None:
    """An entry of another version, id or shape is as if absent, counted, and replaced."""
    bucket(resolver)
    before = stored(alias, ENTRY)
    assert before is not None
    assert old in before
    caches[alias].set(ENTRY, before.replace(old, new, 1))
    assert bucket(resolver) == ("first", Source.SERVICE)
    assert resolver.get_cache_stats().rejected == 1
    assert bucket(resolver) == ("first", Source.CACHE)


def test_new_config_class(alias: str, service: Service) -> None:
    """A new CONFIG_CLASS finds its fields in entries that the old one stored."""
    service.instances["acme"] = acme("first", plan="pro")
    old = InstanceResolver(cache_alias=alias, config_service_backend=service)
    old.resolve(asks())
    new = InstanceResolver(cache_alias=alias, config_service_backend=service, config_class=WithPlan)
    result = new.resolve(asks())
    assert result.source is Source.CACHE
    assert isinstance(result.config, WithPlan)
    assert result.config.plan == "pro"


def spoil(alias: str, key: str) -> None:
    """Put something under ``key`` that no serializer made."""
    cache: Any = caches[alias]
    made = cache.make_key(key)
    garbage = b"\x80\x04\xff not a pickle, nor text"
    backend = type(cache)
    if issubclass(backend, LocMemCache):
        cache._cache[made] = garbage
    elif issubclass(backend, FileBasedCache):
        Path(cache._key_to_file(key)).write_bytes(garbage)
    elif issubclass(backend, DatabaseCache):
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {TABLE} SET value = 'gAT/' WHERE cache_key = %s", [made])
    elif issubclass(backend, BaseMemcachedCache):
        host, port = cache._servers[0].split(":")
        with socket.create_connection((host, int(port)), 30) as server:
            pickled = 1  # what both clients note beside a value that they pickled
            server.sendall(
                f"set {made} {pickled} 0 {len(garbage)}\r\n".encode() + garbage + b"\r\n"
            )
            assert server.recv(100) == b"STORED\r\n"
    else:
        client = (
            cache._cache.get_client() if hasattr(cache, "_cache") else cache.client.get_client()
        )
        client.set(made, garbage)


@pytest.mark.parametrize("key", [ENTRY, OWN, EVERYTHING, EXPIRY])
def test_unreadable_value(resolver: InstanceResolver, alias: str, key: str) -> None:
    """A value that our serializer did not write is counted, removed, and costs a hit at most."""
    resolver.cache.expire("acme")
    bucket(resolver)
    spoil(alias, key)
    # pymemcache takes such a value for none, and says nothing of it.
    counted = 0 if isinstance(caches[alias], PyMemcacheCache) else 1
    assert bucket(resolver)[0] == "first"
    assert resolver.get_cache_stats().rejected == counted
    assert bucket(resolver) == ("first", Source.CACHE)
    assert resolver.get_cache_stats().rejected == counted


@pytest.mark.parametrize("verb", ["invalidate", "expire"])
def test_unreadable_value_is_overwritten(resolver: InstanceResolver, alias: str, verb: str) -> None:
    """Invalidating works also where a generation has become unreadable."""
    resolver.cache.expire("acme")
    bucket(resolver)
    spoil(alias, OWN if verb == "invalidate" else EXPIRY)
    getattr(resolver.cache, verb)("acme")
    assert bucket(resolver) == ("first", Source.SERVICE)
