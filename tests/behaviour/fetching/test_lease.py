from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.test import override_settings

from instance_lookup.cache.entry import Generation
from instance_lookup.cache.health import CacheHealth
from instance_lookup.cache.kinds import PROJECT
from tests.support.leases import INSTANCE, Lease
from tests.support.lookups import HookedCache, hooked_caches, hooks
from tests.support.monotonic import Monotonic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.cache.kinds import Kind

UNDER = Generation("g1", "g2")


@pytest.fixture(autouse=True)
def _cache() -> Iterator[None]:
    HookedCache.lives.clear()
    with override_settings(CACHES=hooked_caches()):
        yield


def lease(
    asked: str = "acme",
    under: Generation = UNDER,
    kind: Kind[Any] = INSTANCE,
    health: CacheHealth | None = None,
) -> Lease:
    return Lease(asked, under, kind=kind, health=health, config_service_timeout=2.5)


def down(verb: str, key: str) -> None:
    raise OSError("no route to the cache")


def test_one_takes_it() -> None:
    """One process takes the lease; the others see that it is held."""
    first, second = lease(), lease()
    assert (first.take(), second.take(), second.is_free()) == (True, False, False)


def test_lease_whose_answer_was_lost_stops_no_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server gave it, and the connection broke: the second try finds it taken, by ourselves.

    It counts as unknown, so this process fetches; the others see the lease, and wait for it.
    """

    class BreaksBehind(HookedCache):
        def add(self, *args: Any, **kwargs: Any) -> bool:
            added = super().add(*args, **kwargs)
            if added:
                raise ConnectionResetError
            return added

    monkeypatch.setattr(caches["default"], "__class__", BreaksBehind)
    assert lease().take()
    assert not lease().is_free()
    monkeypatch.undo()
    assert not lease().take()


def test_released_lease_is_free() -> None:
    """A released lease can be taken by the next process."""
    first, second = lease(), lease()
    first.take()
    first.release()
    assert second.is_free()
    assert second.take()


@pytest.mark.parametrize(
    "other",
    [
        lease("other"),
        lease(kind=PROJECT),
        lease(under=Generation("g1", "g3")),
        lease(under=Generation("g3", "g2")),
    ],
)
def test_of_one_document_and_generation(other: Lease) -> None:
    """A lookup after an invalidation does not wait for an answer from before it."""
    lease().take()
    assert other.take()


def test_lives_as_long_as_a_fetch_may_take() -> None:
    """The lease of a killed holder ends when a fetch must have ended. Caches use whole seconds."""
    lease().take()
    assert list(HookedCache.lives.values()) == [3]


def test_cache_that_is_down_stops_nobody() -> None:
    """Without a cache each process fetches: one call too many is better than none."""
    held = lease()
    with hooks(down):
        assert held.take()
        assert held.is_free()
        held.release()


def test_cache_that_swallows_its_failures_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """django-redis with IGNORE_EXCEPTIONS answers ``None`` to ``add``."""
    monkeypatch.setattr(caches["default"], "add", lambda *args: None)
    assert lease().take()


@pytest.mark.parametrize("verb", ["add", "delete"])
@pytest.mark.parametrize(("seconds", "skipped"), [(0.05, False), (0.2, True)])
def test_cache_that_takes_its_time_to_fail_is_skipped(
    monkeypatch: pytest.MonkeyPatch, verb: str, seconds: float, skipped: bool
) -> None:
    """A cache that is slow to fail is skipped; one that fails at once is still read."""
    clock, health = Monotonic(), CacheHealth("default")
    for module in ("fetching.leased_fetcher", "cache.health"):
        monkeypatch.setattr(f"instance_lookup.{module}.monotonic", clock)

    def fail(called: str, key: str) -> None:
        if called == verb:
            clock.now += seconds
            raise OSError("no route to the cache")

    held = lease(health=health)
    with hooks(fail):
        assert held.take()
        held.release()
    assert (health.breaker.wait() > 0) is skipped


def test_cache_that_is_skipped_is_not_asked_to_release() -> None:
    """A lease is not released while the cache is skipped: it ends by itself."""
    health, verbs = CacheHealth("default"), []
    held = lease(health=health)
    held.take()
    health.breaker.failed()
    with hooks(lambda verb, key: verbs.append(verb)):
        held.release()
    assert verbs == []
    assert not held.is_free()
