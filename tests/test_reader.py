"""Reads while the cache is down, full or slow, and once it is back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.test import override_settings

from instance_lookup.deadline import Deadline
from tests.fetchers import OLGA, Process, bucket, down, kept_bucket, unwritable
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


def test_cache_that_failed_is_not_asked_for_a_while(process: Process) -> None:
    """Not by anybody, for five seconds at a time, with one look in between."""
    looks: list[str] = []

    def fail(verb: str, key: str) -> None:
        looks.append(verb)
        raise OSError("no route to the cache")

    with hooks(fail):
        for moment in (0, 1, 4.9, 5, 5.1, 9.9, 10):
            process.monotonic.now = 1_000 + moment
            assert process.reader.read("acme").entry is None
    assert len(looks) == 3


def test_answer_kept_does_not_come_back(
    process: Process, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a newer generation was read, an answer from before it is served no more."""
    process.reader.read("acme")  # it has the generations
    with hooks(unwritable):
        process.fetch()
    assert kept_bucket(process) == "first"
    service.instances["acme"] = acme("second")
    Process(service).store.invalidate("acme")  # another process, and the cache took it
    assert process.reader.read("acme").entry is None
    process.fetch()
    with hooks(down):
        assert process.reader.read("acme").entry is None


def test_answer_kept_is_dropped_for_what_the_cache_holds(
    process: Process, service: Service
) -> None:
    """Another process stored a newer one under the same generation."""
    process.reader.read("acme")  # it has the generations
    with hooks(unwritable):
        process.fetch()
    service.instances["acme"] = acme("second")
    Process(service).fetch()
    assert kept_bucket(process) == "second"
    with hooks(down):
        assert process.reader.read("acme").entry is None


def test_answer_kept_is_dropped_for_what_was_stored(process: Process, service: Service) -> None:
    """The same where this process stored it itself."""
    reading = process.reader.read("acme")
    with hooks(unwritable):
        process.fetch()
    service.instances["acme"] = acme("second")
    process.fetcher.fetch("acme", reading, OLGA, Deadline.after(5))
    assert not process.store.local._answers.items


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

    for module in ("reader", "vitals"):
        monkeypatch.setattr(f"instance_lookup.{module}.monotonic", process.monotonic)
    with hooks(slow):
        assert bucket(process.fetch()) == "first"
        assert kept_bucket(process) == "first"
    assert len(adds) == looks


def test_cache_that_is_back_and_full_is_asked(process: Process) -> None:
    """The probe found out that it can be read, which is what it was for."""
    with hooks(down):
        process.reader.read("acme")
    process.monotonic.now += 5
    with hooks(unwritable):
        process.reader.read("acme")
    assert process.vitals.cache_breaker.wait() == 0


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
    process.reader.read("acme")
    racing = Racing(process.store._memory("acme").last)
    monkeypatch.setattr(process.store, "_memory", lambda asked: racing)
    entry = process.reader.read("acme").entry
    assert entry is not None
    assert entry.document is not None
