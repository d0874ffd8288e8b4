"""Which deliveries are remembered, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from instance_lookup import CacheError
from instance_lookup.push.deliveries import Delivery, deliver
from instance_lookup.push.signature import TOLERANCE
from tests.support.lookups import HookedCache, hooked_caches, hooks

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings


@pytest.fixture(autouse=True)
def _hooked(settings: Settings) -> None:
    HookedCache.lives.clear()
    settings.CACHES = hooked_caches()


def nothing() -> None:
    """Have no effect."""


def test_lives() -> None:
    """What is done is remembered while it can be replayed; what broke off ends in ten seconds."""
    lives: list[float | None] = []

    def effect() -> None:
        lives.extend(HookedCache.lives.values())

    assert deliver("msg_1", effect, "default") is Delivery.DONE
    lives.extend(HookedCache.lives.values())
    assert lives == [10, 660]
    assert lives[1] is not None
    assert lives[1] > 2 * TOLERANCE


def test_effect_that_fails() -> None:
    """After an effect that failed in any way the same delivery may have its own."""
    for error in (CacheError("down"), KeyError("a bug"), SystemExit()):

        def effect(error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)):
            deliver("msg_1", effect, "default")
    assert deliver("msg_1", nothing, "default") is Delivery.DONE
    assert deliver("msg_1", nothing, "default") is Delivery.REPEATED


def test_mark_that_vanishes() -> None:
    """A mark that ends just when it is looked at is that of a delivery under way."""
    deliver("msg_1", nothing, "default")
    with hooks(lambda verb, key: HookedCache.SKIP if verb == "get" else None):
        assert deliver("msg_1", nothing, "default") is Delivery.PENDING


def test_cache_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a cache does not say whether it took the mark, there is no effect."""
    monkeypatch.setattr(HookedCache, "add", lambda *args: None)
    heard: list[str] = []
    with pytest.raises(CacheError, match="does not tell whether it remembers"):
        deliver("msg_1", lambda: heard.append("x"), "default")
    assert not heard


def test_effect_that_is_not_remembered() -> None:
    """Where the cache fails after the effect, the sender is not told that all is well."""

    def fail(verb: str, key: str) -> None:
        if verb == "set":
            raise ConnectionError

    with hooks(fail), pytest.raises(CacheError, match="failed to remember a delivery"):
        deliver("msg_1", nothing, "default")


def test_ids_of_any_length() -> None:
    """Ids are told apart to the last letter, also where they are longer than a key may be."""
    assert deliver("m" * 256, nothing, "default") is Delivery.DONE
    assert deliver("m" * 255 + "n", nothing, "default") is Delivery.DONE
    assert deliver("m" * 256, nothing, "default") is Delivery.REPEATED
