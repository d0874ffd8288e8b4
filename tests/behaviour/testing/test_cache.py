from __future__ import annotations

from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import cache, caches
from django.test import override_settings

from instance_lookup import (
    CacheError,
    InstanceCache,
    InstanceConfig,
    LookupContext,
    LookupUser,
    resolve_instance,
)
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.testing import CacheFaults, FaultyCache, faulty_cache
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

VERBS: dict[str, tuple[Any, ...]] = {
    "add": ("new", 1),
    "get": ("key",),
    "set": ("key", 1),
    "touch": ("key",),
    "delete": ("key",),
    "get_many": (["key"],),
    "set_many": ({"key": 1},),
    "delete_many": (["key"],),
    "has_key": ("key",),
    "incr": ("key",),
    "clear": (),
}


@pytest.fixture
def faults() -> Iterator[CacheFaults]:
    with faulty_cache() as faults:
        yield faults


@pytest.mark.parametrize("verb", VERBS)
def test_verb_reaches_the_cache_behind(faults: CacheFaults, verb: str) -> None:
    """A call reaches the cache behind with its arguments, and returns its result."""
    behind: Any = caches[vars(caches["default"])["_alias"]]
    results = []
    for each in (behind, cache):
        behind.clear()
        behind.set("key", 5)
        results.append((getattr(each, verb)(*VERBS[verb]), behind.get_many(["key", "new"])))
    assert results[0] == results[1]
    assert faults.calls == [verb]


@pytest.mark.parametrize("verb", VERBS)
def test_verb_fails(faults: CacheFaults, verb: str) -> None:
    """After ``fail()`` all verbs raise until ``recover()``; what was stored is still there."""
    cache.set("key", 5)
    faults.fail()
    with pytest.raises(ConnectionError):
        getattr(cache, verb)(*VERBS[verb])
    faults.recover()
    assert cache.get("key") == 5


def test_fail_some_verbs_with_an_error(faults: CacheFaults) -> None:
    """``fail("set", …)`` fails these verbs only, with the given error."""
    error = TimeoutError("slow")
    faults.fail("set", "add", error=error)
    assert cache.get("key") is None
    for _ in range(2):
        with pytest.raises(TimeoutError) as caught:
            cache.set("key", 1)
        assert caught.value is error


async def test_async_verb_fails(faults: CacheFaults) -> None:
    """Faults hold for async verbs too, which are Django's own."""
    faults.fail()
    with pytest.raises(ConnectionError):
        await cache.aget("key")


def test_delay_some_verbs(faults: CacheFaults) -> None:
    """``delay("get", …)`` delays these verbs only."""
    faults.delay(0.05, "get")
    began = monotonic()
    cache.get("key")
    assert monotonic() - began >= 0.05
    faults.delay(600, "get")
    cache.set("key", 1)


def test_recover_ends_the_waiting(faults: CacheFaults) -> None:
    """``recover()`` ends a delay at once, also one in another thread."""
    faults.delay(600)
    found: list[object] = []
    thread = Thread(target=lambda: found.append(cache.get("key", "nothing")))
    thread.start()
    wait_until(lambda: faults.calls)
    assert not found
    faults.recover()
    thread.join(5)
    assert found == ["nothing"]


def test_cache_is_as_before_afterwards() -> None:
    """After the block what was stored is still there, and the faults are gone."""
    with faulty_cache() as faults:
        cache.set("key", 1)
        faults.fail()
    assert cache.get("key") == 1


def test_faulty_cache_of_the_settings() -> None:
    """A ``FaultyCache`` in the settings without a cache behind it has its own."""
    with override_settings(CACHES={"default": {"BACKEND": "instance_lookup.testing.FaultyCache"}}):
        faulty = caches["default"]
        assert isinstance(faulty, FaultyCache)
        cache.set("key", 1)
        assert cache.get("key") == 1
        faulty.faults.fail()
        with pytest.raises(ConnectionError):
            cache.get("key")
        faulty.faults.recover()
        cache.clear()


def test_lookup_goes_on_without_the_cache(faults: CacheFaults) -> None:
    """A lookup goes on while the site's cache fails."""
    backend = DictConfigService({"acme": {"metadata": {"owner": "olga"}}})
    faults.fail()
    context = LookupContext(LookupUser("olga"), instance_id="acme")
    assert resolve_instance(context, config_service_backend=backend).instance_id == "acme"
    with pytest.raises(CacheError):
        InstanceCache().set("acme", InstanceConfig(instance_id="acme"))
    assert faults.calls
