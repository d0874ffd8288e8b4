"""What tests of lookups share: a tenant and its users, a service and a cache to interrupt."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.core.cache.backends.locmem import LocMemCache

from instance_lookup import ConfigServiceUnavailable, LookupContext, LookupUser
from instance_lookup.backends.memory import DictConfigService
from tests.support.caches import KINDS, MEMCACHED_KINDS, REDIS_KINDS, use_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from instance_lookup import InstanceResolver, Source
    from instance_lookup.backends.base import Document, NotModified, Query

SECRET = "sk-live-nobody-may-see-this"
ACME: dict[str, Any] = {
    "instance_id": "acme",
    "api_keys": {"ideogram": SECRET},
    "metadata": {"owner": "olga"},
    "r2_bucket": "first",
}
OLGA = LookupUser("olga")
SAM = LookupUser("sam")
ADA = LookupUser("ada", roles=("admin",))
DOWN = ConfigServiceUnavailable("down", reason="status")


def acme(bucket: str, **fields: Any) -> dict[str, Any]:
    """Return the tenant's configuration, recognisable by its bucket."""
    return {**ACME, "r2_bucket": bucket, **fields}


def asks(user: LookupUser = OLGA, instance_id: str | None = "acme", **fields: Any) -> LookupContext:
    """Return the context of a user that asks for an instance."""
    return LookupContext(user=user, instance_id=instance_id, **fields)


def project(user: LookupUser = OLGA, project_id: str = "shop") -> LookupContext:
    """Return the context of a user that asks for the instance of a project."""
    return asks(user, None, project_id=project_id)


def bucket(resolver: InstanceResolver) -> tuple[str, Source]:
    """Look up, and return which version of the config came from where."""
    result = resolver.resolve(asks())
    return result.config.r2_bucket, result.source


class Service(DictConfigService):
    """A service that knows "acme" and, of it, the project "shop".

    ``meanwhile`` is called once, when the next answer is made but not given yet.
    """

    def __init__(self) -> None:
        super().__init__({"acme": ACME}, {"shop": "acme"})
        self.meanwhile: Callable[[], object] | None = None

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        try:
            return super().get_instance(instance_id, query)
        finally:
            act, self.meanwhile = self.meanwhile, None
            if act is not None:
                act()


class Clock:
    """The wall clock of every module that looks at it."""

    MODULES = (
        "cache.blocks",
        "cache.generations",
        "cache.shared",
        "cache.looks",
        "cache.sealed_tokens",
        "cache.proofs",
        "fetching.loader",
        "fetching.fetcher",
        "fetching.leased_fetcher",
        "cache.outage",
        "cache.near",
        "fetching.notices",
        "fetching.glance",
        "operations.outlook",
        "cache.instance_cache",
        "resolution.lookups",
    )

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_800_000_000.0
        for module in self.MODULES:
            monkeypatch.setattr(f"instance_lookup.{module}.time", lambda: self.now)


class _Inside(threading.local):
    """Tells of each thread whether it is inside a hook."""

    hook = False


_inside = _Inside()


class HookedCache(LocMemCache):
    """A cache that can be interrupted: ``hook(verb, key)`` is called before each operation.

    What the hook raises, the operation raises. Where it returns ``SKIP`` nothing is done, as by
    backends that swallow their failures. What the hook itself does is not interrupted; what other
    threads do meanwhile is.
    """

    SKIP: ClassVar[object] = object()
    hook: ClassVar[Callable[[str, str], object] | None] = None
    lives: ClassVar[dict[str, float | None]] = {}

    def _skips(self, verb: str, key: str) -> bool:
        hook = type(self).hook
        if hook is None or _inside.hook:
            return False
        _inside.hook = True
        try:
            return hook(verb, key) is self.SKIP
        finally:
            _inside.hook = False

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return default if self._skips("get", key) else super().get(key, default, version)

    def set(self, key: str, value: Any, timeout: Any = None, version: int | None = None) -> None:
        if not self._skips("set", key):
            self.lives[key] = timeout
            super().set(key, value, timeout, version)

    def add(self, key: str, value: Any, timeout: Any = None, version: int | None = None) -> bool:
        self.lives[key] = timeout
        return not self._skips("add", key) and super().add(key, value, timeout, version)

    def touch(self, key: str, timeout: Any = None, version: int | None = None) -> bool:
        self.lives[key] = timeout
        return not self._skips("touch", key) and super().touch(key, timeout, version)

    def delete(self, key: str, version: int | None = None) -> bool:
        return not self._skips("delete", key) and super().delete(key, version)


@contextmanager
def hooks(hook: Callable[[str, str], object]) -> Iterator[None]:
    """Interrupt every :class:`HookedCache` with ``hook``."""
    HookedCache.hook = staticmethod(hook)
    try:
        yield
    finally:
        HookedCache.hook = None


def hooked_caches() -> dict[str, Any]:
    """Return the settings of one cache, new and empty, that can be interrupted."""
    return {"default": {"BACKEND": "tests.support.lookups.HookedCache", "LOCATION": uuid4().hex}}


BYTES = "instance_lookup.serializers.BytesSerializer"
JSON = "django_redis.serializers.json.JSONSerializer"
_WITH_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "redis-bytes": ("redis", {"serializer": BYTES}),
    "django-redis-bytes": ("django-redis", {"SERIALIZER": BYTES}),
    "django-redis-json": ("django-redis", {"SERIALIZER": JSON}),
    "django-redis-ignoring": ("django-redis", {"IGNORE_EXCEPTIONS": True}),
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{kind: (kind, {}) for kind in KINDS + MEMCACHED_KINDS},
    **_WITH_OPTIONS,
}
VARIANT_PARAMS = [
    pytest.param(name, marks=[pytest.mark.extras] if kind in REDIS_KINDS + MEMCACHED_KINDS else [])
    for name, (kind, _) in VARIANTS.items()
]
"""Every kind of cache, and some with options that change what comes back."""


def provide_variant(request: pytest.FixtureRequest, directory: Path) -> Iterator[str]:
    """Yield the alias of an empty cache of the variant that is the fixture's parameter."""
    kind, options = VARIANTS[request.param]
    url = request.getfixturevalue("redis_server").url() if kind in REDIS_KINDS else None
    if kind == "db":
        # Not `db`: its open transaction locks out the threads of the code under test. The marker,
        # since a fixture that is asked for this late does not announce itself.
        request.applymarker(pytest.mark.django_db(transaction=True))
        request.getfixturevalue("transactional_db")
    memcached = request.getfixturevalue(kind) if kind in MEMCACHED_KINDS else None
    with use_cache(
        kind, redis_url=url, memcached=memcached, directory=directory, **options
    ) as alias:
        yield alias


class Twin:
    """Calls a verb, or its asynchronous twin."""

    def __init__(self, *, is_async: bool) -> None:
        self.is_async = is_async

    def __call__(self, target: object, verb: str, *args: Any, **kwargs: Any) -> Any:
        if self.is_async:
            return async_to_sync(getattr(target, f"a{verb}"))(*args, **kwargs)
        return getattr(target, verb)(*args, **kwargs)


TWINS = [
    pytest.param(Twin(is_async=False), id="sync"),
    pytest.param(Twin(is_async=True), id="async"),
]
