"""Entries that are about to become stale are fetched in the background, without a wait."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings
from msgspec.structs import replace

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceResolver,
    LookupContext,
    Source,
)
from instance_lookup.concurrency import pools
from instance_lookup.concurrency.crew import Crew
from tests.support.insides import under_way
from tests.support.leases import Lease
from tests.support.lookups import (
    ADA,
    OLGA,
    SAM,
    TWINS,
    Clock,
    Service,
    Twin,
    acme,
    asks,
    hooked_caches,
    hooks,
)
from tests.support.monotonic import Monotonic
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instance_lookup import LookupResult

OLD = 299.999
"""An age at which every entry is due."""


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def make(service: Service, clock: Clock) -> Iterator[Callable[..., InstanceResolver]]:
    def make_resolver(**options: Any) -> InstanceResolver:
        resolver = InstanceResolver(config_service_backend=service, **options)
        resolver.resolve(asks())
        return resolver

    with override_settings(CACHES=hooked_caches()):
        yield make_resolver


@pytest.fixture
def resolver(make: Callable[..., InstanceResolver]) -> InstanceResolver:
    """A resolver whose cache holds "acme", just fetched by olga."""
    return make()


def landed(resolver: InstanceResolver) -> None:
    wait_until(lambda: not under_way(resolver))


def no_thread(thread: Thread) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("call", TWINS)
def test_old_entry_is_refreshed(
    resolver: InstanceResolver, service: Service, clock: Clock, call: Twin
) -> None:
    """The caller gets the copy at once, and the next caller gets the new configuration."""
    service.instances["acme"] = acme("second")
    clock.now += OLD
    first: LookupResult = call(resolver, "resolve", asks())
    assert (first.config.r2_bucket, first.source) == ("first", Source.CACHE)
    landed(resolver)
    then: LookupResult = call(resolver, "resolve", asks())
    assert (then.config.r2_bucket, then.source) == ("second", Source.CACHE)
    assert then.ttl_remaining == 300
    assert len(service.calls) == 2


def test_caller_does_not_wait(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    """Callers do not wait for a slow refresh, and only one call is under way."""
    release = Event()
    service.meanwhile = lambda: release.wait(5)
    clock.now += OLD
    try:
        for _ in range(5):
            assert resolver.resolve(asks()).source is Source.CACHE
        wait_until(lambda: len(service.calls) == 2)
    finally:
        release.set()
    landed(resolver)
    assert len(service.calls) == 2


def test_hits_while_another_process_fetches(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """They try to take its lease twice a second, not each of them."""
    monotonic = Monotonic(resolver)
    reading = resolver.cache.tiers.shared.read("acme")
    assert reading.generation is not None
    lease, tries = Lease("acme", reading.generation), []
    assert lease.take()
    clock.now += OLD
    with hooks(lambda verb, _: tries.append(verb) if verb == "add" else None):
        for _ in range(20):
            assert resolver.resolve(asks()).source is Source.CACHE
            landed(resolver)
        assert len(tries) == 1
        monotonic.now += 0.5
        resolver.resolve(asks())
        landed(resolver)
        assert len(tries) == 2
    assert len(service.calls) == 1


@pytest.mark.parametrize("age", [0, 239.9])
def test_young_entry_is_left_alone(
    resolver: InstanceResolver, service: Service, clock: Clock, age: float
) -> None:
    """An entry younger than REFRESH_AHEAD of its ttl is not refreshed."""
    clock.now += age
    resolver.resolve(asks())
    assert (under_way(resolver), len(service.calls)) == (0, 1)


def test_refresh_ahead_turned_off(
    make: Callable[..., InstanceResolver], service: Service, clock: Clock
) -> None:
    """``None``: an entry is fetched when it is stale, not before."""
    resolver = make(refresh_ahead=None)
    clock.now += OLD
    resolver.resolve(asks())
    assert (under_way(resolver), len(service.calls)) == (0, 1)


def test_refresh_ahead_of_one(
    make: Callable[..., InstanceResolver], service: Service, clock: Clock
) -> None:
    """A share of 1 turns refresh ahead off."""
    resolver = make(refresh_ahead=1.0)
    clock.now += OLD
    resolver.resolve(asks())
    assert (under_way(resolver), len(service.calls)) == (0, 1)


def test_moment_is_another_for_each_entry(resolver: InstanceResolver, clock: Clock) -> None:
    """The moment of the refresh differs for each id, so warmed entries do not expire together."""
    entry = resolver.cache.tiers.shared.read("acme").entry
    assert entry is not None

    def due(age: float) -> int:
        clock.now = entry.cached_at + age
        return sum(resolver._load_config._is_due(str(number), entry) for number in range(400))

    assert due(239) == 0
    assert 0 < due(255) < due(285) < 400
    assert due(OLD) == 400


def test_moment_is_the_same_in_each_process(resolver: InstanceResolver, clock: Clock) -> None:
    """Processes agree on the moment: were it another one in each, the earliest would count.

    Then entries that many processes serve would be fetched together after all. Here the moments are
    written down; by what is random in each process they would differ in most runs.
    """
    entry = resolver.cache.tiers.shared.read("acme").entry
    assert entry is not None
    entry = replace(entry, cached_at=1_800_000_000.25)
    clock.now = entry.cached_at + 270
    due = [number for number in range(12) if resolver._load_config._is_due(f"i-{number}", entry)]
    assert due == [0, 1, 3, 7, 8, 9]


def test_denied_caller_starts_none(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """A caller who is denied starts no refresh."""
    clock.now += OLD
    with pytest.raises(AccessDenied):
        resolver.resolve(asks(SAM))
    assert (under_way(resolver), len(service.calls)) == (0, 1)


def test_owner_is_asked_for(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    """A refresh asks in the owner's name: the service might refuse the caller, not the owner."""
    clock.now += OLD
    resolver.resolve(asks(ADA))
    landed(resolver)
    assert service.calls[-1] == ("get_instance", "acme", "olga")


def test_site_asks_where_there_is_no_owner(
    make: Callable[..., InstanceResolver], service: Service, clock: Clock
) -> None:
    """Without an owner the refresh asks as the site, with the configured user id."""
    resolver = make(config_service_user_id="site")
    service.instances["acme"] = acme("second", metadata={})
    resolver.refresh("acme")
    clock.now += OLD
    resolver.resolve(asks(ADA))
    landed(resolver)
    assert service.calls[2:] == [("get_instance", "acme", "site")]


def test_project_is_refreshed_too(
    make: Callable[..., InstanceResolver], service: Service, clock: Clock
) -> None:
    """A project's mapping and its instance are both refreshed in the background."""
    resolver = make(config_service_user_id="site")
    resolver.resolve(asks(instance_id=None, project_id="shop"))
    clock.now += OLD
    result = resolver.resolve(LookupContext(OLGA, project_id="shop"))
    assert result.source is Source.CACHE
    landed(resolver)
    assert sorted(service.calls[2:]) == [
        ("get_instance", "acme", "olga"),
        ("get_project", "shop", "site"),
    ]


def test_refusal_of_the_owner_is_not_the_callers(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """An admin is answered as before, and the owner is not asked for again."""
    monotonic = Monotonic(resolver)
    service.failure = AccessDenied("no longer")
    clock.now += OLD
    for _ in range(3):
        assert resolver.resolve(asks(ADA)).source is Source.CACHE
        landed(resolver)
        monotonic.now += 1
    assert len(service.calls) == 2
    with pytest.raises(AccessDenied):
        resolver.resolve(asks(OLGA))


def test_refusal_of_the_owner_drops_the_entry(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """The entry is dropped when its owner asks and the service refuses them."""
    service.failure = AccessDenied("no longer")
    clock.now += OLD
    resolver.resolve(asks(OLGA))
    landed(resolver)
    with pytest.raises(AccessDenied):
        resolver.resolve(asks(OLGA))
    assert resolver.cache.get("acme") is None


def test_failure_is_not_repeated_by_each_caller(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """The id rests for RETRY_INTERVAL; the entry is fresh all the while."""
    monotonic = Monotonic(resolver)
    service.failure = ConfigServiceUnavailable("down", reason="status")
    clock.now += OLD
    for _ in range(3):
        assert resolver.resolve(asks()).source is Source.CACHE
        landed(resolver)
        monotonic.now += 1
    assert len(service.calls) == 2
    monotonic.now += 30
    resolver.resolve(asks())
    landed(resolver)
    assert len(service.calls) == 3


@pytest.mark.parametrize(("age", "source"), [(OLD, Source.CACHE), (300, Source.STALE_CACHE)])
def test_no_thread_for_a_refresh(
    resolver: InstanceResolver,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    age: float,
    source: Source,
) -> None:
    """When no thread can be started for a refresh, callers are served the copy."""
    clock.now += age
    monkeypatch.setattr(pools.flights, "_crew", Crew(9, 9))  # one without idle threads
    monkeypatch.setattr(Thread, "start", no_thread)
    assert resolver.resolve(asks()).source is source


def test_no_thread_and_no_copy(resolver: InstanceResolver, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no thread can be started and there is no copy, the caller gets 503."""
    resolver.invalidate_cache("acme")
    monkeypatch.setattr(pools.flights, "_crew", Crew(9, 9))  # one without idle threads
    monkeypatch.setattr(Thread, "start", no_thread)
    with pytest.raises(ConfigServiceUnavailable) as caught:
        resolver.resolve(asks())
    assert caught.value.details["reason"] == "busy"
