"""What `InstanceCache` promises, on every kind of cache, by each verb and by its twin."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import caches
from django.test import override_settings

from instance_lookup import CacheError, InstanceCache, InstanceConfig, InvalidContext, Source
from instance_lookup.cache.entry import Generation
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.signals import instance_invalidated
from tests.support.caches import stored
from tests.support.lookups import SECRET, Clock, Twin, acme

CONFIG = InstanceConfig(instance_id="acme", api_keys={"ideogram": SECRET}, r2_bucket="first")
SECOND = InstanceConfig(instance_id="acme", r2_bucket="second")


@pytest.fixture
def cache(clock: Clock, alias: str) -> InstanceCache:
    return InstanceCache(alias, ttl=300, stale_max_age=3600)


def test_get_nothing_stored(cache: InstanceCache, call: Twin) -> None:
    """An absent entry is None, and a miss."""
    assert call(cache, "get", "acme") is None
    assert cache.stats.misses == 1


def test_get_fresh(cache: InstanceCache, call: Twin, clock: Clock) -> None:
    """A fresh entry comes back as it was stored, with its age."""
    call(cache, "set", "acme", CONFIG)
    clock.now += 100
    entry = call(cache, "get", "acme")
    assert entry.config == CONFIG
    assert entry.config.api_keys["ideogram"] == SECRET
    assert (entry.source, entry.ttl, entry.ttl_remaining) == (Source.CACHE, 300, 200)
    assert entry.cached_at == clock.now - 100
    assert cache.stats.hits == 1


def test_get_stale(cache: InstanceCache, call: Twin, clock: Clock) -> None:
    """When its ttl is over an entry is only returned to callers that allow a stale one."""
    call(cache, "set", "acme", CONFIG)
    clock.now += 300
    assert call(cache, "get", "acme") is None
    entry = call(cache, "get", "acme", allow_stale=True)
    assert (entry.config, entry.source, entry.ttl_remaining) == (CONFIG, Source.STALE_CACHE, 0.0)
    assert (cache.stats.misses, cache.stats.stale_hits) == (1, 1)


def test_get_purged(cache: InstanceCache, call: Twin, clock: Clock) -> None:
    """An entry whose age is STALE_MAX_AGE is treated as absent."""
    call(cache, "set", "acme", CONFIG)
    clock.now += 3599.9
    assert call(cache, "get", "acme", allow_stale=True)
    clock.now += 0.1
    assert call(cache, "get", "acme", allow_stale=True) is None


def test_get_from_the_future(cache: InstanceCache, call: Twin, clock: Clock) -> None:
    """An entry whose clock is ahead by more than the skew is stale, not fresh for ever."""
    call(cache, "set", "acme", CONFIG)
    clock.now -= 5
    assert call(cache, "has", "acme")
    clock.now -= 0.1
    assert not call(cache, "has", "acme")
    assert call(cache, "get", "acme", allow_stale=True)


def test_set_own_ttl(cache: InstanceCache, call: Twin, clock: Clock) -> None:
    """A ttl given to `set` is used for that entry."""
    call(cache, "set", "acme", CONFIG, 10)
    clock.now += 10
    assert not call(cache, "has", "acme")


@pytest.mark.parametrize("ttl", [0, -1, float("inf"), float("nan"), "300", True])
def test_set_impossible_ttl(ttl: Any) -> None:
    """A ttl that no entry can have is refused: the entry could not be read."""
    with pytest.raises(ValueError, match="ttl must be a positive number of seconds"):
        InstanceCache().set("acme", CONFIG, ttl)


def test_set_replaces(cache: InstanceCache, call: Twin) -> None:
    """A second ``set`` replaces the first."""
    call(cache, "set", "acme", CONFIG)
    call(cache, "set", "acme", SECOND)
    assert call(cache, "get", "acme").config == SECOND


def test_set_of_another_instance(call: Twin) -> None:
    """A config is never stored under the id of another instance."""
    with pytest.raises(ValueError, match="of 'acme', not of 'other'"):
        call(InstanceCache(), "set", "other", CONFIG)


def test_set_bad_generation(call: Twin) -> None:
    """A generation that did not come from `generation` is refused."""
    with pytest.raises(ValueError, match="is not a generation"):
        call(InstanceCache(), "set", "acme", CONFIG, generation="1")


def test_set_generation_outdated(cache: InstanceCache, call: Twin) -> None:
    """A caller that read the generation, then fetched, cannot undo an invalidation in between."""
    generation = call(cache, "generation", "acme")
    call(cache, "invalidate", "acme")
    call(cache, "set", "acme", CONFIG, generation=generation)
    assert call(cache, "get", "acme", allow_stale=True) is None


def test_set_generation_current(cache: InstanceCache, call: Twin) -> None:
    """An entry stored with the current generation has that generation."""
    generation = call(cache, "generation", "acme")
    call(cache, "set", "acme", CONFIG, generation=generation)
    assert call(cache, "get", "acme").generation == generation
    assert str(Generation.parse(generation)) == generation


def test_has(cache: InstanceCache, call: Twin) -> None:
    """`has` looks without counting."""
    assert not call(cache, "has", "acme")
    call(cache, "set", "acme", CONFIG)
    assert call(cache, "has", "acme")
    assert (cache.stats.hits, cache.stats.misses) == (0, 0)


def test_invalidate(cache: InstanceCache, call: Twin) -> None:
    """An invalidated entry is gone, also as a stale one; the result tells whether there was one."""
    call(cache, "set", "acme", CONFIG)
    assert call(cache, "invalidate", "acme") is True
    assert call(cache, "get", "acme", allow_stale=True) is None
    assert call(cache, "invalidate", "acme") is False
    assert cache.stats.evictions == 1


def test_invalidate_other(cache: InstanceCache, call: Twin) -> None:
    """Invalidating one instance leaves the others."""
    call(cache, "set", "acme", CONFIG)
    call(cache, "invalidate", "acme2")
    assert call(cache, "has", "acme")


def test_invalidate_all(cache: InstanceCache, call: Twin, alias: str) -> None:
    """``invalidate_all`` ends all entries, and leaves other apps' values alone."""
    caches[alias].set("session:1", "of another app")
    call(cache, "set", "acme", CONFIG)
    call(cache, "invalidate_all")
    assert call(cache, "get", "acme", allow_stale=True) is None
    assert caches[alias].get("session:1") == "of another app"


def test_expire(cache: InstanceCache, call: Twin) -> None:
    """An expired entry is stale at once, and still there."""
    call(cache, "set", "acme", CONFIG)
    call(cache, "expire", "acme")
    assert not call(cache, "has", "acme")
    assert call(cache, "get", "acme", allow_stale=True).config == CONFIG
    call(cache, "set", "acme", SECOND)
    assert call(cache, "get", "acme").config == SECOND


def test_warm(cache: InstanceCache, call: Twin) -> None:
    """Warming stores each config under its own id."""
    configs = [InstanceConfig(instance_id=f"i{number}") for number in range(5)]
    assert call(cache, "warm", iter(configs)) == 5
    assert all(cache.has(config.instance_id) for config in configs)
    assert call(cache, "warm", []) == 0


def test_many_entries(cache: InstanceCache, call: Twin) -> None:
    """Culling costs hits only: what was stored last is there, and nothing is mixed up."""
    for number in range(60):
        config = InstanceConfig(instance_id=f"i{number}", r2_bucket=str(number))
        cache.set(config.instance_id, config)
    assert call(cache, "get", "i59").config.r2_bucket == "59"
    found = [entry for number in range(60) if (entry := cache.get(f"i{number}"))]
    assert all(entry.config.instance_id == f"i{entry.config.r2_bucket}" for entry in found)


def test_stored_form(cache: InstanceCache, alias: str) -> None:
    """The value is text under the documented key, which each serializer and release can read."""
    cache.set("acme", CONFIG)
    text = stored(alias, "instance_config:acme")
    assert text is not None
    assert text.startswith('{"v":1,"instance_id":"acme","config":{')


def test_reset_stats() -> None:
    """All counters start again at zero."""
    cache = InstanceCache()
    cache.get("acme")
    cache.reset_stats()
    assert cache.stats.misses == 0


@pytest.mark.parametrize("verb", ["get", "has", "generation", "expire", "invalidate"])
@pytest.mark.parametrize("bad", ["", "a b", "../x", "x" * 65, None, b"acme", "acme\n"])
def test_bad_id(verb: str, bad: Any, call: Twin) -> None:
    """A malformed id is refused before the cache is asked."""
    with pytest.raises(InvalidContext):
        call(InstanceCache("no such alias"), verb, bad)


def test_signals(call: Twin) -> None:
    """Each invalidation is announced, by id only; a receiver that fails does not matter."""
    heard: list[tuple[object, object]] = []

    def receiver(*, instance_id: str | None, expired: bool, **kwargs: object) -> None:
        heard.append((instance_id, expired))
        raise RuntimeError("a receiver's own trouble")

    instance_invalidated.connect(receiver)
    try:
        cache = InstanceCache()
        call(cache, "invalidate", "acme")
        call(cache, "expire", "acme")
        call(cache, "invalidate_all")
    finally:
        instance_invalidated.disconnect(receiver)
    assert heard == [("acme", False), ("acme", True), (None, False)]


@override_settings(CACHES={"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}})
def test_dummy_cache(call: Twin) -> None:
    """With DummyCache invalidating is fine; storing by hand raises, as nothing is kept."""
    cache = InstanceCache()
    assert call(cache, "invalidate", "acme") is False
    call(cache, "invalidate_all")
    call(cache, "expire", "acme")
    assert call(cache, "get", "acme") is None
    with pytest.raises(CacheError, match="keeps no generation of 'acme'"):
        call(cache, "set", "acme", CONFIG)


def test_unknown_fields_of_a_stored_config(alias: str) -> None:
    """A config that was stored with more fields than this release knows is still read."""
    cache = InstanceCache(alias)
    cache.set("acme", CONFIG)
    text = stored(alias, "instance_config:acme")
    assert text is not None
    text = text.replace('"r2_bucket"', '"new":[1],"r2_bucket"')
    key_values[alias].set("instance_config:acme", text, None)
    assert (found := cache.get("acme")) is not None
    assert found.config.r2_bucket == acme("first")["r2_bucket"]
