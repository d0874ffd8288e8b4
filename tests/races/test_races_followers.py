"""A caller that follows another's fetch does not follow it past an invalidation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from tests.races.race_acts import foreground, invalidate, invalidate_all, see_deleted
from tests.races.races import Race, closing

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    Do = Callable[[Race], None]

every_cache = pytest.mark.parametrize(
    "cache_kind", ["locmem", "django-redis", "filebased", "db", "redis"]
)
by_both = pytest.mark.parametrize("by", ["here", "there"])
by_both_acts = pytest.mark.parametrize("act", [invalidate, invalidate_all])


@pytest.fixture
def race(monkeypatch: pytest.MonkeyPatch, cache_alias: str) -> Race:
    # Longer than a test waits: a caller that follows the wrong fetch makes the test fail.
    return Race(cache_alias, monkeypatch, config_service_timeout=25)


@every_cache
@by_both_acts
@by_both
@pytest.mark.parametrize("point", ["after the fetch", "before the store"])
def test_follower(race: Race, act: Do, by: str, point: str) -> None:
    """A caller that comes after an invalidation does not wait for an answer from before it."""
    followers: list[str] = []

    def act_and_follow() -> None:
        act(race)
        followers.append(race.seen_elsewhere(getattr(race, by)))

    race.service.interrupt(race.here, point, act_and_follow)
    foreground(race)
    race.settle()
    assert followers == ["second"]
    assert race.seen_by_both() == {"second"}


@every_cache
@by_both
def test_follower_of_deleted(race: Race, by: str) -> None:
    """A caller that comes after a 404 does not get an answer whose fetch began before it."""
    followers: list[str] = []

    def act_and_follow() -> None:
        see_deleted(race)
        followers.append(race.seen_elsewhere(getattr(race, by)))

    race.service.interrupt(race.here, "after the fetch", act_and_follow)
    foreground(race)
    race.settle()
    assert followers == ["InstanceNotFound"]


@every_cache
@by_both_acts
def test_follower_that_waits(race: Race, monkeypatch: pytest.MonkeyPatch, act: Do) -> None:
    """A caller that waits for another process does not get its answer once that is invalidated."""
    waits = Event()
    store: Any = race.there.cache.tiers.shared
    read = store.read

    def look(asked: str, *, again: bool = False, **more: Any) -> Any:
        if again:
            waits.set()
        return read(asked, again=again, **more)

    def act_while_one_waits() -> None:
        followers.append(pool.submit(closing, race.seen, race.there))
        assert waits.wait(10)
        act(race)

    monkeypatch.setattr(store, "read", look)
    followers: list[Future[str]] = []
    race.service.interrupt(race.here, "after the fetch", act_while_one_waits)
    with ThreadPoolExecutor(1) as pool:
        foreground(race)
        assert [follower.result(timeout=10) for follower in followers] == ["second"]
    race.settle()
