"""Invalidations that the cache did not take win their races in their own process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from instance_lookup import ConfigServiceUnavailable
from instance_lookup.exceptions import CacheError
from tests.races.race_acts import WAYS, foreground, warming
from tests.races.races import POINTS, Race
from tests.support.lookups import acme, hooked_caches, hooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django.fixtures import Settings

    Do = Callable[[Race], None]

DOWN = ConfigServiceUnavailable("down", reason="status")
CHANGED = {"second", "ConfigServiceUnavailable"}

every_way = pytest.mark.parametrize("fetch", WAYS)
every_point = pytest.mark.parametrize("point", POINTS)
by_both_verbs = pytest.mark.parametrize("act", ["invalidate_cache", "invalidate_all_caches"])


@pytest.fixture
def hooked(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Race:
    settings.CACHES = hooked_caches()
    return Race("default", monkeypatch)


def fail(verb: str, key: str) -> None:
    raise OSError("down")


def invalidate_in_vain(race: Race, act: str) -> None:
    """Make an invalidation that the cache does not take."""
    race.service.instances["acme"] = acme("second")
    with pytest.raises(CacheError):
        getattr(race.here, act)(*(["acme"] if act == "invalidate_cache" else []))


@pytest.mark.parametrize("fetch", [foreground, warming])
@pytest.mark.parametrize("point", [point for point in POINTS if point != "in the store"])
@by_both_verbs
def test_while_cache_is_down(hooked: Race, fetch: Do, point: str, act: str) -> None:
    """An answer kept while the cache is down is never older than an invalidation."""
    with hooks(fail):
        hooked.service.interrupt(hooked.here, point, lambda: invalidate_in_vain(hooked, act))
        fetch(hooked)
        hooked.settle()
        assert hooked.seen(hooked.here) == "second"
