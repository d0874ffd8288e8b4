"""Reads while the cache is down, full or slow, and once it is back."""

from __future__ import annotations

from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.test import override_settings

from instance_lookup.resilience.deadline import Deadline
from tests.support.fetchers import OLGA, Process, bucket, down, kept_bucket, read_minted, unwritable
from tests.support.lookups import Clock, HookedCache, Service, acme, hooked_caches, hooks
from tests.support.stores import ENTRY

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def process(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    Clock(monkeypatch)
    with override_settings(CACHES=hooked_caches()):
        yield Process(service)


def test_cache_that_failed_is_not_asked_for_a_while(process: Process) -> None:
    """After a failure no lookup reads the cache for five seconds, then one of them tries."""
    looks: list[str] = []

    def fail(verb: str, key: str) -> None:
        looks.append(verb)
        raise OSError("no route to the cache")

    with hooks(fail):
        for moment in (0, 1, 4.9, 5, 5.1, 9.9, 10):
            process.monotonic.now = 1_000 + moment
            assert read_minted(process.cache, "acme").entry is None
    assert len(looks) == 3


@pytest.mark.usefixtures("refuses_at_once")
def test_answer_kept_does_not_come_back(
    process: Process, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept answer is not served once a newer generation was read."""
    read_minted(process.cache, "acme")  # it has the generations
    with hooks(unwritable):
        process.fetch()
    assert kept_bucket(process) == "first"
    service.instances["acme"] = acme("second")
    Process(service).cache.invalidate("acme")  # another process, and the cache took it
    assert read_minted(process.cache, "acme").entry is None
    process.fetch()
    with hooks(down):
        assert read_minted(process.cache, "acme").entry is None


@pytest.mark.usefixtures("refuses_at_once")
def test_answer_kept_is_dropped_for_what_the_cache_holds(
    process: Process, service: Service
) -> None:
    """A kept answer is dropped when the cache holds a newer one of another process."""
    read_minted(process.cache, "acme")  # it has the generations
    with hooks(unwritable):
        process.fetch()
    service.instances["acme"] = acme("second")
    Process(service).fetch()
    assert kept_bucket(process) == "second"
    with hooks(down):
        assert read_minted(process.cache, "acme").entry is None


@pytest.mark.usefixtures("refuses_at_once")
def test_answer_kept_is_dropped_for_what_was_stored(process: Process, service: Service) -> None:
    """A kept answer is dropped when this process stores a newer one."""
    reading = read_minted(process.cache, "acme")
    with hooks(unwritable):
        process.fetch()
    service.instances["acme"] = acme("second")
    process.fetcher.fetch("acme", reading, OLGA, Deadline.after(5))
    with hooks(down):
        assert read_minted(process.cache, "acme").entry is None


@pytest.mark.parametrize(("seconds", "is_skipped"), [(0.05, False), (0.2, True)])
def test_cache_that_takes_its_time_to_have_no_generation_is_skipped(
    process: Process, monkeypatch: pytest.MonkeyPatch, seconds: float, is_skipped: bool
) -> None:
    """A cache that is slow to fail when a read has to write is skipped; the answer is kept."""
    adds: list[str] = []

    def slow(verb: str, key: str) -> None:
        if verb == "add":
            adds.append(key)
            process.monotonic.now += seconds
            raise OSError("no route to the cache")

    for module in ("cache.tiers", "cache.health"):
        monkeypatch.setattr(f"instance_lookup.{module}.monotonic", process.monotonic)
    with hooks(slow):
        assert bucket(process.fetch()) == "first"
        assert kept_bucket(process) == "first"
    assert len(adds) == 1
    assert (process.cache.health.breaker.wait() > 0) is is_skipped


@pytest.mark.usefixtures("refuses_at_once")
def test_cache_that_is_back_and_full_is_asked(process: Process) -> None:
    """A probe that can read closes the breaker, even when the cache cannot be written."""
    with hooks(down):
        read_minted(process.cache, "acme")
    process.monotonic.now += 5
    with hooks(unwritable):
        read_minted(process.cache, "acme")
    assert process.cache.health.breaker.wait() == 0


def test_cache_that_keeps_nothing_is_as_good_as_down(process: Process) -> None:
    """A cache that keeps nothing (django-redis with IGNORE_EXCEPTIONS) is skipped as if down."""
    with hooks(lambda verb, key: HookedCache.SKIP):
        assert bucket(process.fetch()) == "first"
        assert kept_bucket(process) == "first"
    assert process.cache.health.breaker.wait() > 0


def test_dummy_cache_is_no_failure(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """DummyCache is no failure: nothing is kept and nothing is logged."""
    dummy = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    with override_settings(CACHES=dummy):
        process = Process(service)
        assert [bucket(process.fetch()) for _ in range(2)] == ["first"] * 2
        assert process.cache.health.breaker.wait() == 0
    assert (len(service.calls), caplog.records) == (2, [])


class Racing:
    """What a store remembers of an id; another thread replaces it meanwhile."""

    def __init__(self, known: Any) -> None:
        self.keys = known.keys
        self._left = [known.last]

    @property
    def last(self) -> object:
        """Return the entry at the first look, and nothing at the next."""
        return self._left.pop() if self._left else None

    @last.setter
    def last(self, last: object) -> None:
        """The other thread replaces it at once."""


def test_entry_remembered_is_replaced_meanwhile(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that another thread replaces between two looks is read all the same."""
    process.fetch()
    read_minted(process.cache, "acme")
    racing = Racing(process.cache.shared._known("acme"))
    monkeypatch.setattr(process.cache.shared, "_known", lambda asked: racing)
    entry = read_minted(process.cache, "acme").entry
    assert entry is not None
    assert entry.document is not None


def look(process: Process, *ids: str) -> dict[str, str | None]:
    """Return the buckets of what one look finds; ``None`` for what is known not to exist."""
    found: dict[str, str | None] = {}
    for asked, reading in process.cache._read_many(ids).items():
        assert reading.entry is not None
        assert reading.generation is not None
        document = reading.entry.document
        found[asked] = None if document is None else document.r2_bucket
    return found


def test_look_finds_what_is_fresh(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look finds all fresh entries and unknown ids at once, and leaves the rest to a read."""
    clock = Clock(monkeypatch)
    service.instances["late"] = acme("second", instance_id="late")
    with override_settings(CACHES=hooked_caches()):
        process = Process(service)
        assert look(process, "acme", "late", "gone", "other") == {}
        process.fetch("late")
        clock.now += 290
        process.fetch("acme")
        process.fetch("gone")
        found = {"acme": "first", "late": "second", "gone": None}
        assert look(process, "acme", "late", "gone", "other") == found
        clock.now += 10
        assert look(process, "acme", "late", "gone", "other") == {"acme": "first", "gone": None}
        process.cache.expire("acme")
        assert look(process, "acme", "late", "gone", "other") == {"gone": None}


def test_look_of_a_cache_that_is_down(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    """A look that fails finds nothing, and the cache is not read again for a while."""
    process.fetch()
    gets: list[str] = []

    def fail(verb: str, key: str) -> None:
        gets.append(verb)
        raise OSError("no route to the cache")

    with hooks(fail):
        assert [look(process, "acme", "gone") for _ in range(3)] == [{}] * 3
        assert read_minted(process.cache, "acme").entry is None
    assert gets == ["get"]
    assert process.cache.health.breaker.wait() > 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    process.monotonic.now += 5
    assert look(process, "acme") == {}  # a read finds out
    assert kept_bucket(process) == "first"
    assert look(process, "acme") == {"acme": "first"}


def test_look_of_a_cache_that_swallows_its_failures(process: Process) -> None:
    """A look that finds nothing changes nothing of what is known about the cache's health."""
    with hooks(lambda verb, key: HookedCache.SKIP):
        assert look(process, "acme", "gone") == {}
        assert process.cache.health.breaker.is_closed
        read_minted(process.cache, "acme")
        assert look(process, "acme", "gone") == {}
        assert not process.cache.health.breaker.is_closed


def test_look_leaves_to_a_read_what_is_corrupt(process: Process) -> None:
    """A look leaves a corrupt entry to the next read, so it is counted once."""
    process.fetch()
    process.fetch("gone")
    caches["default"].set(ENTRY, "{", None)
    assert look(process, "acme", "gone") == {"gone": None}
    assert read_minted(process.cache, "acme").entry is None
    assert process.counters.read().rejected == 1


def test_look_leaves_to_a_read_what_cannot_be_read(process: Process) -> None:
    """A look leaves an unreadable value to the next read, which finds its key and deletes it."""
    process.fetch()

    def fail(verb: str, key: str) -> None:
        if verb == "get" and key == ENTRY:
            raise UnpicklingError("of another release")

    with hooks(fail):
        assert look(process, "acme", "gone") == {}
        assert read_minted(process.cache, "acme").entry is None
    assert caches["default"].get(ENTRY) is None


def test_look_during_which_something_changed(service: Service) -> None:
    """What changed during the look is not kept near afterwards; what did not change is."""
    with override_settings(CACHES=hooked_caches()):
        process = Process(service, near_cache_size=10)
        process.fetch()
        process.fetch("gone")

        def change(verb: str, key: str) -> None:
            process.cache.forget("acme")

        with hooks(change):
            assert look(process, "acme", "gone") == {"acme": "first", "gone": None}
        assert process.cache.near.get("acme") is None
        assert process.cache.near.get("gone") is not None


@pytest.mark.parametrize("how", ["read", "look"])
def test_copy_of_what_is_gone(process: Process, service: Service, how: str) -> None:
    """A 404 that the cache did not take is honoured, and the others are as good as ever."""
    process.fetch()
    process.fetch("gone")
    del service.instances["acme"]
    with hooks(unwritable):
        process.fetch()
    process.monotonic.now += 5
    if how == "look":
        assert look(process, "acme", "gone") == {"gone": None}
    assert read_minted(process.cache, "acme").entry is None
    service.instances["acme"] = acme("second")
    process.fetch()
    assert kept_bucket(process) == "second"
