"""A site that seals what it caches, and someone who can write to its cache but has no key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches

from instance_lookup import InstanceResolver, events
from instance_lookup.cache.codec import new_encryption_key
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.exceptions import InstanceBlocked
from tests.support.lookups import VARIANTS, Clock, Service, acme, asks, bucket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup import Source

KEY, OTHER_KEY = new_encryption_key(), new_encryption_key()
ENTRY, OWN = "instance_config:acme", "instance_generation:acme"
EVERYTHING, EXPIRY = "instance_generation", "instance_expiry:acme"
KEYS = (ENTRY, EVERYTHING, OWN, EXPIRY)
HOUR = 3_600.0
PARAMS = [
    "locmem",
    pytest.param("redis", marks=pytest.mark.extras),
    pytest.param("django-redis", marks=[pytest.mark.extras, pytest.mark.full]),
]
"""Kinds of cache for tests of what no kind does in its own way."""
_QUICK = ("locmem", "redis", "django-redis-json")
FORMS = [
    pytest.param(name, marks=[pytest.mark.extras, *([] if name in _QUICK else [pytest.mark.full])])
    for name in VARIANTS
]
"""Every kind of cache, but for a full run one of each form that values have: text, bytes, and what
a serializer would read."""


class Site:
    """Processes of a site: each has a memory of its own, all have one cache and one service."""

    def __init__(self, alias: str, clock: Clock) -> None:
        self.alias, self.clock = alias, clock
        self.service = Service()
        self.rejections: list[str] = []

    def process(self, **options: Any) -> InstanceResolver:
        """Return a process that has just started."""
        options = {"encryption_keys": [KEY], **options}
        return InstanceResolver(
            cache_alias=self.alias, config_service_backend=self.service, **options
        )

    def changes(self, version: str) -> None:
        """Have the service give out another version from now on."""
        self.service.instances["acme"] = acme(version)
        self.clock.now += 1

    def watch(self, event: events.Event) -> None:
        """Note why something was refused."""
        if isinstance(event, events.Rejection):
            self.rejections.append(event.reason)


class Writer:
    """Reads and writes the cache as a server lets any user of it; has no key."""

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def copy(self, *keys: str) -> dict[str, Any]:
        """Return what is stored at keys."""
        values = key_values[self._alias].get_many(keys or KEYS)
        found = dict(zip(keys or KEYS, values, strict=True))
        return {key: _plain(value) for key, value in found.items() if value is not None}

    def put(self, values: dict[str, Any]) -> None:
        """Put values at their keys."""
        for key, value in values.items():
            key_values[self._alias].set(key, value, 36_000)

    def restore(self, values: dict[str, Any]) -> None:
        """Have all keys of the instance hold what they held before: values, or none."""
        self.delete(*KEYS)
        self.put(values)

    def delete(self, *keys: str) -> None:
        """Remove keys."""
        for key in keys:
            caches[self._alias].delete(key)


def provide_site(alias: str, clock: Clock) -> Iterator[Site]:
    """Yield a site whose rejections are watched."""
    site = Site(alias, clock)
    events.watch(site.watch)
    try:
        yield site
    finally:
        events.unwatch(site.watch)


def version(resolver: InstanceResolver) -> str:
    """Look up, and return which version of the config there is."""
    return bucket(resolver)[0]


def answer(resolver: InstanceResolver) -> tuple[str, Source]:
    """Look up, and return which version came from where."""
    return bucket(resolver)


def is_blocked(resolver: InstanceResolver, asked: str = "acme") -> bool:
    """Look up, and tell whether the instance is blocked."""
    try:
        resolver.resolve(asks(instance_id=asked))
    except InstanceBlocked:
        return True
    return False


def _plain(value: Any) -> Any:
    """Return text as text, also where the backend has bytes of it, and bytes as they are."""
    try:
        return value.decode() if isinstance(value, bytes) else value[:]
    except UnicodeDecodeError:
        return bytes(value)
