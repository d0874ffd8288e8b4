"""Cache backends that cannot be made, or answer with something that is no answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings

from instance_lookup import CacheError, InstanceResolver, Source
from instance_lookup.backends.memory import DictConfigService
from tests.support.lookups import ACME, TWINS, Twin, asks

if TYPE_CHECKING:
    from collections.abc import Callable

ALIAS = "instances"


class Unmakeable(LocMemCache):
    """A backend whose constructor raises, as when a driver is missing."""

    def __init__(self, *args: object) -> None:
        raise ValueError("no driver")


class AnswersNone(LocMemCache):
    """A backend that answers ``None`` when it is asked for many keys."""

    def get_many(self, *args: object, **kwargs: object) -> Any:
        return None


class AnswersList(LocMemCache):
    """A backend that answers with values and without their keys."""

    def get_many(self, *args: object, **kwargs: object) -> Any:
        return ["x"]


def caches_with(backend: type) -> Any:
    """Return the context in which the alias has a backend."""
    default = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    ours = {"BACKEND": f"{__name__}.{backend.__name__}"}
    return override_settings(CACHES={"default": default, ALIAS: ours})


def make_resolver() -> InstanceResolver:
    return InstanceResolver(
        cache_alias=ALIAS,
        near_cache_size=None,
        config_service_backend=DictConfigService(
            {"acme": ACME, "beta": {**ACME, "instance_id": "beta"}}
        ),
    )


@pytest.mark.parametrize("twin", TWINS)
def test_service_answers_if_backend_cannot_be_made(twin: Twin) -> None:
    """A cache that is not there costs calls of the service, never an answer."""
    with caches_with(Unmakeable):
        assert twin(make_resolver(), "resolve", asks()).source is Source.SERVICE


@pytest.mark.parametrize(
    "manage",
    [
        pytest.param(lambda resolver: resolver.invalidate_cache("acme"), id="invalidate"),
        pytest.param(lambda resolver: resolver.invalidate_all_caches(), id="all"),
        pytest.param(lambda resolver: resolver.cache.expire("acme"), id="expire"),
        pytest.param(lambda resolver: resolver.cache.get("acme"), id="get"),
    ],
)
def test_management_raises_if_backend_cannot_be_made(
    manage: Callable[[InstanceResolver], object],
) -> None:
    """The one error that management is documented to raise because of the cache."""
    with caches_with(Unmakeable), pytest.raises(CacheError):
        manage(make_resolver())


@pytest.mark.parametrize("backend", [AnswersNone, AnswersList])
@pytest.mark.parametrize("twin", TWINS)
def test_service_answers_if_backend_answers_nonsense(backend: Any, twin: Twin) -> None:
    """A nonsense answer of a cache counts as a failed read; the service answers."""
    with caches_with(backend):
        assert twin(make_resolver(), "resolve", asks()).source is Source.SERVICE


@pytest.mark.parametrize("backend", [AnswersNone, Unmakeable])
def test_coroutines_are_answered_if_backend_is_broken(backend: Any) -> None:
    """A read of many ids from a broken cache raises nothing; the service answers."""

    async def both(resolver: InstanceResolver) -> list[Source]:
        found = await asyncio.gather(
            *(resolver.aresolve(asks(instance_id=each)) for each in ("acme", "beta"))
        )
        return [each.source for each in found]

    with caches_with(backend):
        assert async_to_sync(both)(make_resolver()) == [Source.SERVICE] * 2


def test_near_tier_is_opened_once_the_backend_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The near cache opens later: else the process would never hear or send invalidations."""
    resolver = make_resolver()
    near = resolver.cache.tiers.near
    with caches_with(Unmakeable):
        resolver.resolve(asks())
        assert not near.is_open
    told: list[Any] = []
    listening: list[Any] = []

    def publish(*what: Any) -> bool:
        told.append(what)
        return True

    channel = SimpleNamespace(listen=listening.append, publish=publish)
    for module in ("near", "pubsub"):
        monkeypatch.setattr(f"instance_lookup.cache.{module}.channel_of", lambda _alias: channel)
    with caches_with(AnswersNone):
        resolver.resolve(asks())
        resolver.invalidate_cache("acme")
    assert listening == [resolver.cache.tiers]
    assert told == [("instance", "acme")]
    assert resolver.get_cache_stats().unpublished == 0
