"""Fetches while the cache is down, full or slow: what this process keeps, and what it drops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.test import override_settings

from instance_lookup import CacheError, InstanceNotFound
from instance_lookup.deadline import Deadline
from instance_lookup.entry import Freshness
from tests.fetchers import OLGA, Process, bucket
from tests.lookups import Clock, HookedCache, Service, acme, hooked_caches, hooks

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def process(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    Clock(monkeypatch)
    with override_settings(CACHES=hooked_caches()):
        yield Process(service)


def down(verb: str, key: str) -> None:
    raise OSError("no route to the cache")


def unwritable(verb: str, key: str) -> None:
    if verb != "get":
        raise OSError("read-only")


def kept_bucket(process: Process) -> str:
    """Return the bucket of what need not be asked for, wherever it is kept."""
    entry = process.fetcher.read("acme").entry
    assert entry is not None
    assert entry.document is not None
    return entry.document.r2_bucket


def test_cache_that_failed_is_not_asked_for_a_while(process: Process) -> None:
    """Not by anybody, for five seconds at a time, with one look in between."""
    looks: list[str] = []

    def fail(verb: str, key: str) -> None:
        looks.append(verb)
        raise OSError("no route to the cache")

    with hooks(fail):
        for moment in (0, 1, 4.9, 5, 5.1, 9.9, 10):
            process.monotonic.now = 1_000 + moment
            assert process.fetcher.read("acme").entry is None
    assert len(looks) == 3


def test_answer_is_used_again_while_the_cache_is_down(process: Process) -> None:
    """For NEAR_CACHE_TTL: an outage of the cache is no stampede on the service."""
    with hooks(down):
        assert bucket(process.fetch()) == "first"
        entry = process.fetcher.read("acme").entry
        assert entry is not None
        process.monotonic.now += 5
        assert process.fetcher.read("acme").entry is None


def test_answer_from_before_an_invalidation_is_not_used_again(
    process: Process, service: Service
) -> None:
    """It was under way when somebody invalidated, and the cache cannot tell."""
    service.meanwhile = lambda: process.store.local.invalidate("acme")
    with hooks(down):
        assert bucket(process.fetch()) == "first"
        assert process.fetcher.read("acme").entry is None


def test_missing_is_remembered_while_the_cache_is_down(process: Process, service: Service) -> None:
    """What the cache holds is not served again once it is back."""
    process.fetch()
    del service.instances["acme"]
    with hooks(down):
        assert isinstance(process.fetch().error, InstanceNotFound)
    process.monotonic.now += 5
    assert process.fetcher.read("acme").entry is None


def test_missing_is_kept_while_the_cache_is_down(process: Process) -> None:
    """Whoever asks for made-up ids must not have the service asked each time."""
    with hooks(down):
        assert isinstance(process.fetch("nobody").error, InstanceNotFound)
        entry = process.fetcher.read("nobody").entry
    assert entry is not None
    assert (entry.document, entry.freshness) == (None, Freshness.FRESH)


def test_missing_from_before_an_invalidation_is_not_kept(
    process: Process, service: Service
) -> None:
    """It was under way when somebody made the instance, and said so."""
    service.meanwhile = lambda: process.store.local.invalidate("nobody")
    with hooks(down):
        assert isinstance(process.fetch("nobody").error, InstanceNotFound)
        assert process.fetcher.read("nobody").entry is None


def test_missing_is_kept_where_the_cache_does_not_take_it(process: Process) -> None:
    """A full or read-only cache neither; what it owes is owed still."""
    process.fetcher.read("nobody")  # it has the generations
    with hooks(unwritable):
        process.fetch("nobody")
        entry = process.fetcher.read("nobody").entry
    assert entry is not None
    assert entry.document is None
    assert process.store.local.owes("nobody")


def test_missing_ids_push_out_no_invalidation(process: Process, service: Service) -> None:
    """Ten thousand made-up ids while the cache is down, and the invalidation is still owed."""
    process.fetch()
    service.instances["acme"] = acme("second")
    with hooks(down):
        with pytest.raises(CacheError):
            process.store.invalidate("acme")
        for number in range(10_000):
            process.fetch(f"x{number}")
    process.monotonic.now += 5
    assert process.fetcher.read("acme").entry is None


def test_key_tells_an_invalidation_that_the_cache_did_not_take(process: Process) -> None:
    """Who comes after it joins no fetch from before it."""
    reading = process.fetcher.read("acme")
    before = process.fetcher.key("acme", reading)
    assert process.fetcher.key("acme", process.fetcher.read("acme")) == before
    with hooks(down), pytest.raises(CacheError):
        process.store.invalidate("acme")
    assert process.fetcher.key("acme", process.fetcher.read("acme")) != before


def test_key_tells_an_invalidation_while_the_cache_is_skipped(process: Process) -> None:
    """The cache took it, but this process does not look: it has to know by itself."""
    with hooks(down):
        before = process.fetcher.key("acme", process.fetcher.read("acme"))
    process.store.invalidate("acme")
    after = process.fetcher.read("acme")
    assert after.generation is None
    assert process.fetcher.key("acme", after) != before


def test_answer_under_way_is_not_kept_over_an_invalidation_that_was_taken(
    process: Process, service: Service
) -> None:
    """While the cache is skipped the answer from before it would be used again."""
    with hooks(down):
        process.fetcher.read("acme")
    service.meanwhile = lambda: process.store.invalidate("acme")
    assert bucket(process.fetch()) == "first"
    assert process.fetcher.read("acme").entry is None


def test_answer_kept_does_not_come_back(
    process: Process, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a newer generation was read, an answer from before it is served no more."""
    process.fetcher.read("acme")  # it has the generations
    with hooks(unwritable):
        process.fetch()
    assert kept_bucket(process) == "first"
    service.instances["acme"] = acme("second")
    Process(service).store.invalidate("acme")  # another process, and the cache took it
    assert process.fetcher.read("acme").entry is None
    process.fetch()
    with hooks(down):
        assert process.fetcher.read("acme").entry is None


def test_answer_kept_is_dropped_for_what_the_cache_holds(
    process: Process, service: Service
) -> None:
    """Another process stored a newer one under the same generation."""
    process.fetcher.read("acme")  # it has the generations
    with hooks(unwritable):
        process.fetch()
    service.instances["acme"] = acme("second")
    Process(service).fetch()
    assert kept_bucket(process) == "second"
    with hooks(down):
        assert process.fetcher.read("acme").entry is None


def test_answer_kept_is_dropped_for_what_was_stored(process: Process, service: Service) -> None:
    """The same where this process stored it itself."""
    reading = process.fetcher.read("acme")
    with hooks(unwritable):
        process.fetch()
    service.instances["acme"] = acme("second")
    process.fetcher.fetch("acme", reading, OLGA, Deadline.after(5))
    assert not process.store.local._answers.items


@pytest.mark.parametrize(("seconds", "skipped"), [(0.05, False), (0.2, True)])
def test_cache_that_takes_its_time_not_to_store_is_skipped(
    process: Process, monkeypatch: pytest.MonkeyPatch, seconds: float, skipped: bool
) -> None:
    """It would cost everybody that; one that says no at once can still be read."""
    verbs: list[str] = []

    def slow(verb: str, key: str) -> None:
        verbs.append(verb)
        if verb == "set":
            process.monotonic.now += seconds
            raise OSError("no route to the cache")

    for module in ("fetcher", "vitals"):
        monkeypatch.setattr(f"instance_lookup.{module}.monotonic", process.monotonic)
    process.fetcher.read("acme")
    with hooks(slow):
        assert bucket(process.fetch()) == "first"
        verbs.clear()
        assert kept_bucket(process) == "first"
    assert (verbs == []) is skipped


@pytest.mark.parametrize(("seconds", "looks"), [(0.05, 2), (0.2, 1)])
def test_cache_that_takes_its_time_to_have_no_generation_is_skipped(
    process: Process, monkeypatch: pytest.MonkeyPatch, seconds: float, looks: int
) -> None:
    """The same where the look itself has to write."""
    adds: list[str] = []

    def slow(verb: str, key: str) -> None:
        if verb == "add":
            adds.append(key)
            process.monotonic.now += seconds
            raise OSError("no route to the cache")

    for module in ("fetcher", "vitals"):
        monkeypatch.setattr(f"instance_lookup.{module}.monotonic", process.monotonic)
    with hooks(slow):
        assert bucket(process.fetch()) == "first"
        assert kept_bucket(process) == "first"
    assert len(adds) == looks


def test_cache_that_is_back_and_full_is_asked(process: Process) -> None:
    """The probe found out that it can be read, which is what it was for."""
    with hooks(down):
        process.fetcher.read("acme")
    process.monotonic.now += 5
    with hooks(unwritable):
        process.fetcher.read("acme")
    assert process.vitals.cache_breaker.wait() == 0


def test_cache_that_failed_meanwhile_is_not_written_to(process: Process, service: Service) -> None:
    """Each thread that was asking the service would wait for it once more."""
    verbs: list[str] = []
    reading = process.fetcher.read("acme")
    service.meanwhile = process.vitals.cache_breaker.failed
    with hooks(lambda verb, key: verbs.append(verb)):
        outcome = process.fetcher.fetch("acme", reading, OLGA, Deadline.after(5))
    assert (bucket(outcome), verbs) == ("first", [])


def test_cache_that_keeps_nothing_is_as_good_as_down(process: Process) -> None:
    """As django-redis with IGNORE_EXCEPTIONS: it is skipped, and the answer bridges."""
    with hooks(lambda verb, key: HookedCache.SKIP):
        assert bucket(process.fetch()) == "first"
        assert kept_bucket(process) == "first"
    assert process.vitals.cache_breaker.wait() > 0


def test_dummy_cache_is_no_failure(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """Who configures it wants nothing kept."""
    dummy = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    with override_settings(CACHES=dummy):
        process = Process(service)
        assert [bucket(process.fetch()) for _ in range(2)] == ["first"] * 2
        assert process.vitals.cache_breaker.wait() == 0
    assert (len(service.calls), caplog.records) == (2, [])


class Racing:
    """What a store remembers of an id, while another thread replaces it."""

    def __init__(self, last: object) -> None:
        self._left = [last]

    @property
    def last(self) -> object:
        """What was there at the first look, nothing at the next."""
        return self._left.pop() if self._left else None


def test_entry_remembered_is_replaced_meanwhile(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another thread, between two looks: the entry is read all the same."""
    process.fetch()
    process.fetcher.read("acme")
    racing = Racing(process.store._memory("acme").last)
    monkeypatch.setattr(process.store, "_memory", lambda asked: racing)
    entry = process.fetcher.read("acme").entry
    assert entry is not None
    assert entry.document is not None
