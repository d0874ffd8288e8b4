"""Fetches while the cache is down, full or slow: what this process keeps, and what it drops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from instance_lookup import CacheError, InstanceNotFound
from instance_lookup.cache.entry import Freshness
from instance_lookup.resilience.deadline import Deadline
from tests.support.fetchers import OLGA, Process, bucket, down, kept_bucket, read_minted, unwritable
from tests.support.lookups import Clock, Service, acme, hooked_caches, hooks
from tests.support.stores import BODY, NOW

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


def test_answer_is_used_again_while_the_cache_is_down(process: Process) -> None:
    """While the cache is down an answer is used again for NEAR_CACHE_TTL."""
    with hooks(down):
        assert bucket(process.fetch()) == "first"
        entry = read_minted(process.cache, "acme").entry
        assert entry is not None
        process.monotonic.now += 5
        assert read_minted(process.cache, "acme").entry is None


def test_answer_from_before_an_invalidation_is_not_used_again(
    process: Process, service: Service
) -> None:
    """An answer that was under way during an invalidation is not kept while the cache is down."""
    service.meanwhile = lambda: process.cache.forget("acme")
    with hooks(down):
        assert bucket(process.fetch()) == "first"
        assert read_minted(process.cache, "acme").entry is None


def test_missing_is_remembered_while_the_cache_is_down(process: Process, service: Service) -> None:
    """A 404 while the cache is down is remembered, so the old copy is not served later."""
    process.fetch()
    del service.instances["acme"]
    with hooks(down):
        assert isinstance(process.fetch().error, InstanceNotFound)
    process.monotonic.now += 5
    assert read_minted(process.cache, "acme").entry is None


def test_missing_is_kept_while_the_cache_is_down(process: Process) -> None:
    """An unknown id is remembered, so repeated requests for it do not reach the service."""
    with hooks(down):
        assert isinstance(process.fetch("nobody").error, InstanceNotFound)
        entry = read_minted(process.cache, "nobody").entry
    assert entry is not None
    assert (entry.document, entry.freshness) == (None, Freshness.FRESH)


def test_missing_from_before_an_invalidation_is_not_kept(
    process: Process, service: Service
) -> None:
    """A 404 that was under way while the instance was created is not kept."""
    service.meanwhile = lambda: process.cache.forget("nobody")
    with hooks(down):
        assert isinstance(process.fetch("nobody").error, InstanceNotFound)
        assert read_minted(process.cache, "nobody").entry is None


@pytest.mark.usefixtures("refuses_at_once")
def test_missing_is_kept_where_the_cache_does_not_take_it(process: Process) -> None:
    """A 404 is kept in this process when the cache is full or read-only."""
    read_minted(process.cache, "nobody")  # it has the generations
    with hooks(unwritable):
        process.fetch("nobody")
        entry = read_minted(process.cache, "nobody").entry
    assert entry is not None
    assert entry.document is None


@pytest.mark.full
def test_missing_ids_push_out_no_other(process: Process, service: Service) -> None:
    """Ten thousand made-up ids while the cache is down, and a 404 is still honoured."""
    process.fetch()
    del service.instances["acme"]
    with hooks(down):
        process.fetch()
        for number in range(10_000):
            process.fetch(f"x{number}")
    process.monotonic.now += 5
    assert read_minted(process.cache, "acme").entry is None


def test_key_tells_an_invalidation_that_the_cache_did_not_take(process: Process) -> None:
    """After a failed invalidation a lookup does not join a fetch from before it."""
    reading = read_minted(process.cache, "acme")
    before = process.fetcher.key("acme", reading)
    assert process.fetcher.key("acme", read_minted(process.cache, "acme")) == before
    with hooks(down), pytest.raises(CacheError):
        process.cache.invalidate("acme")
    assert process.fetcher.key("acme", read_minted(process.cache, "acme")) != before


def test_key_tells_an_invalidation_while_the_cache_is_skipped(process: Process) -> None:
    """After an invalidation while the cache is skipped, a lookup joins no fetch from before it."""
    with hooks(down):
        before = process.fetcher.key("acme", read_minted(process.cache, "acme"))
    process.cache.invalidate("acme")
    after = read_minted(process.cache, "acme")
    assert after.generation is None
    assert process.fetcher.key("acme", after) != before


def test_answer_under_way_is_not_kept_over_an_invalidation_that_was_taken(
    process: Process, service: Service
) -> None:
    """While the cache is skipped the answer from before it would be used again."""
    with hooks(down):
        read_minted(process.cache, "acme")
    service.meanwhile = lambda: process.cache.invalidate("acme")
    assert bucket(process.fetch()) == "first"
    assert read_minted(process.cache, "acme").entry is None


@pytest.mark.parametrize(("seconds", "skipped"), [(0.05, False), (0.2, True)])
def test_cache_that_takes_its_time_not_to_store_is_skipped(
    process: Process, monkeypatch: pytest.MonkeyPatch, seconds: float, skipped: bool
) -> None:
    """A cache that is slow to fail is skipped; one that fails at once can still be read."""
    verbs: list[str] = []

    def slow(verb: str, key: str) -> None:
        verbs.append(verb)
        if verb == "set":
            process.monotonic.now += seconds
            raise OSError("no route to the cache")

    for module in ("cache.health",):
        monkeypatch.setattr(f"instance_lookup.{module}.monotonic", process.monotonic)
    read_minted(process.cache, "acme")
    with hooks(slow):
        assert bucket(process.fetch()) == "first"
        verbs.clear()
        assert kept_bucket(process) == "first"
    assert (verbs == []) is skipped


def test_cache_that_failed_meanwhile_is_not_written_to(process: Process, service: Service) -> None:
    """Each thread that was asking the service would wait for it once more."""
    verbs: list[str] = []
    reading = read_minted(process.cache, "acme")
    service.meanwhile = process.cache.health.breaker.failed
    with hooks(lambda verb, key: verbs.append(verb)):
        outcome = process.fetcher.fetch("acme", reading, OLGA, Deadline.after(5))
    assert (bucket(outcome), verbs) == ("first", [])


def test_answer_from_before_a_404_does_not_come_back(process: Process, service: Service) -> None:
    """The cache takes an older "here it is", but did not take the 404: it is not served."""
    reading = read_minted(process.cache, "acme")
    del service.instances["acme"]
    with hooks(unwritable):
        process.fetch()
    about: Any = {"cached_at": NOW - 1, "ttl": 300.0, "etag": None}
    process.cache.store("acme", BODY, reading, **about)
    assert read_minted(process.cache, "acme").entry is None
    service.instances["acme"] = acme("second")
    process.fetch()
    assert kept_bucket(process) == "second"
