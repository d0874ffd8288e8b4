from __future__ import annotations

from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.test import override_settings

from instance_lookup import ConfigServiceUnavailable, InstanceNotFound, Source
from instance_lookup.cache.entry import Freshness
from instance_lookup.cache.keys import lease_key
from instance_lookup.resilience.deadline import Deadline
from tests.support.fetchers import OLGA, Process, bucket, read_minted
from tests.support.leases import Lease
from tests.support.lookups import Clock, Service, acme, hooked_caches, hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instance_lookup import InstanceConfig
    from instance_lookup.cache.reading import Reading
    from instance_lookup.fetching.fetcher import Outcome


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def ours(service: Service, clock: Clock) -> Iterator[Process]:
    with override_settings(CACHES=hooked_caches()):
        yield Process(service)


@pytest.fixture
def theirs(ours: Process, service: Service) -> Process:
    """Another process on the same cache."""
    return Process(service)


@pytest.fixture
def at_each_pause(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have something happen whenever we would sleep, one after the other."""

    def happens(*deeds: Callable[[], object]) -> None:
        left = list(deeds)
        monkeypatch.setattr(
            "instance_lookup.fetching.leased_fetcher.sleep",
            lambda seconds: left.pop(0)() if left else None,
        )

    return happens


def held(process: Process, reading: Reading[InstanceConfig]) -> Lease:
    """Return a lease for what was read, already taken."""
    assert reading.generation is not None
    lease = Lease("acme", reading.generation, health=process.cache.health)
    assert lease.take()
    return lease


def fetch(
    process: Process, seen: Reading[Any], *, patient: bool = True, seconds: float = 5
) -> Outcome[InstanceConfig]:
    deadline = Deadline.after(seconds)
    return process.fleet.fetch("acme", seen, OLGA, deadline, patient=patient)


def test_leader_fetches_and_gives_the_lease_back(ours: Process, service: Service) -> None:
    """After the fetch the lease is free, so the next process does not wait."""
    seen = read_minted(ours.cache, "acme")
    assert bucket(fetch(ours, seen)) == "first"
    assert len(service.calls) == 1
    held(ours, seen)


def test_leader_gives_the_lease_back_whatever_happens(
    ours: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours must not hold up every other process."""
    seen = read_minted(ours.cache, "acme")
    monkeypatch.setattr(ours.fetcher, "fetch", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fetch(ours, seen)
    held(ours, seen)


def test_leader_holds_the_lease_while_it_fetches(
    ours: Process, theirs: Process, service: Service
) -> None:
    """While the leader fetches, a process with a copy uses that and makes no call."""
    seen = read_minted(ours.cache, "acme")
    outcomes: list[Outcome[InstanceConfig]] = []
    service.meanwhile = lambda: outcomes.append(fetch(theirs, seen, patient=False))
    assert bucket(fetch(ours, seen)) == "first"
    assert [(outcome.found, outcome.error) for outcome in outcomes] == [(None, None)]
    assert len(service.calls) == 1


def test_leader_looks_again(ours: Process, theirs: Process, service: Service) -> None:
    """A process that takes the lease reads again: another one may have stored an answer."""
    seen = read_minted(ours.cache, "acme")
    fetch(theirs, seen)
    outcome = fetch(ours, seen)
    assert bucket(outcome) == "first"
    assert outcome.found is not None
    assert outcome.found.source is Source.CACHE
    assert len(service.calls) == 1


def test_refresh_ahead_is_not_content_with_what_it_saw(ours: Process, service: Service) -> None:
    """A fresh entry that is to be refreshed is no answer to that."""
    fetch(ours, read_minted(ours.cache, "acme"))
    service.instances["acme"] = acme("second")
    assert bucket(fetch(ours, read_minted(ours.cache, "acme"))) == "second"


def test_without_a_cache_there_is_no_lease(ours: Process, service: Service) -> None:
    """Without a cache there is no lease, and each process makes its own call."""
    verbs: list[str] = []

    def down(verb: str, key: str) -> None:
        verbs.append(verb)
        raise OSError("no route to the cache")

    with hooks(down):
        assert bucket(fetch(ours, read_minted(ours.cache, "acme"))) == "first"
    assert "add" not in verbs
    assert len(service.calls) == 1


def test_follower_of_one_that_ends_as_it_looks(
    ours: Process, theirs: Process, service: Service, at_each_pause: Callable[..., None]
) -> None:
    """The other one stores and gives its lease back between two looks of ours: one call."""
    seen = read_minted(ours.cache, "acme")
    lease = held(theirs, seen)
    looks: list[str] = []

    def end(verb: str, key: str) -> None:
        if verb == "get" and key.startswith("instance_lease:") and not looks:
            looks.append(key)
            theirs.fetcher.fetch("acme", seen, OLGA, Deadline.after(5))
            lease.release()

    at_each_pause()
    with hooks(end):
        assert bucket(fetch(ours, seen)) == "first"
    assert looks
    assert len(service.calls) == 1


def test_follower_gets_what_the_other_stored(
    ours: Process, theirs: Process, service: Service, at_each_pause: Callable[..., None]
) -> None:
    """A follower gets what the other process stored, without a call of its own."""
    seen = read_minted(ours.cache, "acme")
    held(theirs, seen)
    at_each_pause(lambda: None, lambda: None, theirs.fetch)
    outcome = fetch(ours, seen)
    assert bucket(outcome) == "first"
    assert outcome.found is not None
    assert outcome.found.source is Source.CACHE
    assert len(service.calls) == 1


def test_follower_hears_that_it_does_not_exist(
    ours: Process, theirs: Process, service: Service, at_each_pause: Callable[..., None]
) -> None:
    """A follower gets the 404 that another process stored."""
    service.instances.clear()
    seen = read_minted(ours.cache, "acme")
    held(theirs, seen)
    at_each_pause(theirs.fetch)
    assert isinstance(fetch(ours, seen).error, InstanceNotFound)
    assert len(service.calls) == 1


def test_follower_of_one_that_gave_up_fetches(
    ours: Process, theirs: Process, service: Service, at_each_pause: Callable[..., None]
) -> None:
    """A lease that is gone, and no entry: the other was refused, or failed, or died."""
    seen = read_minted(ours.cache, "acme")
    lease = held(theirs, seen)
    at_each_pause(lease.release)
    assert bucket(fetch(ours, seen)) == "first"
    assert len(service.calls) == 1


def test_follower_fetches_under_a_new_generation(
    ours: Process, theirs: Process, service: Service, at_each_pause: Callable[..., None]
) -> None:
    """When the generation changes, the follower fetches and does not wait for the old answer."""
    seen = read_minted(ours.cache, "acme")
    held(theirs, seen)
    at_each_pause(lambda: theirs.cache.invalidate("acme"))
    assert bucket(fetch(ours, seen)) == "first"
    entry = read_minted(theirs.cache, "acme").entry
    assert entry is not None


def test_follower_fetches_half_way(
    ours: Process,
    theirs: Process,
    service: Service,
    at_each_pause: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other is slow, or was killed: there is time for one's own call."""
    seen = read_minted(ours.cache, "acme")
    held(theirs, seen)
    now = 100.0
    calls: list[int] = []
    monkeypatch.setattr("instance_lookup.fetching.leased_fetcher.monotonic", lambda: now)

    def pause(until: float) -> None:
        nonlocal now
        now = until
        calls.append(len(service.calls))

    at_each_pause(*[partial(pause, until) for until in (102.4, 102.6, 102.8)])
    assert bucket(fetch(ours, seen)) == "first"
    assert calls == [0, 0]
    assert len(service.calls) == 1


def test_follower_takes_what_comes_first(
    ours: Process, theirs: Process, service: Service, at_each_pause: Callable[..., None]
) -> None:
    """While its own call hangs, the other's answer may come in after all."""
    seen = read_minted(ours.cache, "acme")
    lease, hanging, release = held(theirs, seen), Event(), Event()

    def hang() -> None:
        hanging.set()
        release.wait(5)

    def answer() -> None:
        assert hanging.wait(5)
        theirs.fetch()

    service.meanwhile = hang
    own = ours.cache.read_again

    def read(asked: str) -> Reading[InstanceConfig]:
        if hanging.is_set():
            answer()
        return own(asked)

    ours.cache.read_again = read  # type: ignore[method-assign]
    at_each_pause(lease.release)
    try:
        outcome = fetch(ours, seen)
    finally:
        release.set()
    assert outcome.found is not None
    assert outcome.found.source is Source.CACHE


def test_follower_does_not_wait_for_longer_than_its_deadline(
    ours: Process, theirs: Process, service: Service
) -> None:
    """When both calls hang, the follower gets a timeout at its deadline."""
    seen = read_minted(ours.cache, "acme")
    held(theirs, seen)
    release = Event()
    service.meanwhile = lambda: release.wait(5)
    outcome = fetch(ours, seen, seconds=0.3)
    release.set()
    assert isinstance(outcome.error, ConfigServiceUnavailable)
    assert outcome.error.details["reason"] == "timeout"


@pytest.mark.parametrize("fast", [1800, -1800])
def test_follower_of_one_with_another_clock(
    ours: Process,
    theirs: Process,
    clock: Clock,
    at_each_pause: Callable[..., None],
    fast: float,
) -> None:
    """What the other process stored is used, though its clock is behind that of the older copy."""
    clock.now += fast
    ours.fetch()
    clock.now -= fast
    seen = read_minted(ours.cache, "acme")
    assert seen.entry is not None
    assert seen.entry.freshness is not Freshness.FRESH
    held(theirs, seen)
    at_each_pause(theirs.fetch)
    outcome = fetch(ours, seen)
    assert outcome.found is not None
    assert (outcome.found.source, outcome.found.cached_at) == (Source.CACHE, clock.now)


def test_lease_has_no_secret_in_its_key(ours: Process) -> None:
    """The key of a lease is made of the id and the generations only."""
    reading = read_minted(ours.cache, "acme")
    held(ours, reading)
    assert reading.generation is not None
    key = lease_key(ours.cache.kind, "acme", reading.generation)
    assert key.startswith("instance_lease:acme:")
    assert caches["default"].get(key) is not None
