from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceNotFound,
    InvalidContext,
)
from instance_lookup.backends.base import Document, NotModified, Query
from instance_lookup.fetching.refusals import Refused
from tests.support.fetchers import OLGA, Process, bucket, read_minted
from tests.support.lookups import Clock, Service, acme, hooked_caches
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

DOWN = ConfigServiceUnavailable("down", reason="timeout")
KINDS_OF_ANSWER = [
    AccessDenied("no"),
    InstanceNotFound("gone"),
    ConfigServiceUnavailable("not JSON", reason="rejected"),
    ConfigServiceUnavailable("422", reason="client_error"),
]


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def process(service: Service, clock: Clock) -> Iterator[Process]:
    with override_settings(CACHES=hooked_caches()):
        yield Process(service)


def down(verb: str, key: str) -> None:
    raise OSError("no route to the cache")


def open_breaker(process: Process, service: Service) -> None:
    service.failure = DOWN
    assert [process.reason(f"id-{number}") for number in range(5)] == ["timeout"] * 5
    service.calls.clear()


def test_answer_is_found_and_stored(process: Process) -> None:
    """The next one finds it in the cache."""
    assert bucket(process.fetch()) == "first"
    entry = read_minted(process.cache, "acme").entry
    assert entry is not None
    assert entry.document is not None
    assert entry.document.r2_bucket == "first"


def test_deadline_that_has_passed_asks_nobody(process: Process, service: Service) -> None:
    """A call that waited too long for a thread of ours is no failure of the service."""
    assert process.reason(seconds=0) == "full"
    assert service.calls == []
    assert process.service_health.breaker.is_closed


def test_call_that_starts_late_is_not_held_against_the_service(
    process: Process, service: Service
) -> None:
    """Our own queue took the time that the service would have had."""

    def too_slow(asked: str, query: Query) -> Document:
        wait_until(lambda: not query.deadline.remaining())
        raise DOWN

    process.fetcher._fetch = too_slow
    for number in range(10):
        assert process.reason(f"id-{number}", seconds=0.01) == "full"
    assert process.service_health.breaker.is_closed


@pytest.mark.parametrize("spelling", ["ACME", "Acme", " acme"])
def test_other_spelling_does_not_exist(process: Process, spelling: str) -> None:
    """A service that ignores case would give one document under any number of names."""
    process.fetcher._fetch = lambda asked, query: Document(
        b'{"instance_id": "%s"}' % spelling.encode()
    )
    assert isinstance(process.fetch().error, InstanceNotFound)
    process.fetcher._fetch = lambda asked, query: Document(b'{"instance_id": "acme2"}')
    assert process.reason() == "rejected"


def test_open_breaker_asks_nobody(process: Process, service: Service) -> None:
    """An open breaker makes no call, and its error says when the service is asked again."""
    open_breaker(process, service)
    error = process.fetch().error
    assert isinstance(error, ConfigServiceUnavailable)
    assert (error.details["reason"], error.retry_after) == ("circuit_open", 10.0)
    assert service.calls == []


def test_open_breaker_closes_by_itself(process: Process, service: Service) -> None:
    """After BREAKER_RESET one probe that succeeds closes the breaker."""
    open_breaker(process, service)
    service.failure = None
    process.monotonic.now += 10
    assert [bucket(process.fetch()) for _ in range(3)] == ["first"] * 3


@pytest.mark.parametrize("answer", KINDS_OF_ANSWER, ids=str)
def test_answers_of_any_kind_do_not_open_the_breaker(
    process: Process, service: Service, answer: Exception
) -> None:
    """The service is there; that one document is wrong says nothing about the next."""
    service.failure = answer
    for _ in range(20):
        process.fetch()
    assert len(service.calls) == 20


@pytest.mark.parametrize("answer", KINDS_OF_ANSWER, ids=str)
def test_answers_of_any_kind_close_the_breaker(
    process: Process, service: Service, answer: Exception
) -> None:
    """A probe that gets a 404 found the service alive."""
    open_breaker(process, service)
    service.failure = answer
    process.monotonic.now += 10
    process.fetch()
    assert process.service_health.breaker.is_closed


def test_retry_after_holds_for_every_id(process: Process, service: Service) -> None:
    """A Retry-After that came for two ids holds for all ids."""
    service.failure = ConfigServiceUnavailable("503", reason="status", retry_after=60)
    assert [process.reason("acme") for _ in range(3)] == ["status"] * 3
    assert process.reason("beta") == "status"
    service.failure = None
    assert process.reason("other") == "circuit_open"
    process.monotonic.now += 60
    assert bucket(process.fetch()) == "first"


def test_refusal_tells_whose_it_is(process: Process, service: Service) -> None:
    """No other user is told of it."""
    service.failure = AccessDenied("no")
    outcome = process.fetch()
    assert isinstance(outcome.error, Refused)
    assert outcome.by == OLGA.identity


def test_id_that_cannot_be_asked_for_is_the_callers_mistake(
    process: Process, service: Service
) -> None:
    """The backend's error for an id that it cannot ask for reaches the caller."""
    service.failure = InvalidContext("Nobody can ask for that.")
    assert process.fetch().error is service.failure


def test_unforeseen_error_is_the_cause(process: Process, service: Service) -> None:
    """Error trackers show what the backend raised."""
    service.failure = ZeroDivisionError("of a backend")
    error = process.fetch().error
    assert error is not None
    assert error.__cause__ is service.failure


def test_every_id_rests_while_the_breaker_is_open(process: Process, service: Service) -> None:
    """A call would be vain, for one that has not failed itself as well."""
    open_breaker(process, service)
    other = read_minted(process.cache, "other")
    assert process.fetcher.rests("other", other)
    process.monotonic.now += 10
    assert not process.fetcher.rests("other", other)


def test_id_that_cannot_be_asked_for_leaves_the_probe_to_others(
    process: Process, service: Service
) -> None:
    """An id that cannot be asked for leaves the breaker half open until the next probe."""
    open_breaker(process, service)
    process.monotonic.now += 10
    service.failure = InvalidContext("Nobody can ask for that.")
    assert process.fetch().error is service.failure
    service.failure = None
    assert process.reason() == "circuit_open"
    process.monotonic.now += 6
    assert bucket(process.fetch()) == "first"


@pytest.mark.parametrize(("asked_for", "waits"), [(59.0, 59.0), (86_400.0, 60.0)])
def test_retry_after_of_any_backend_has_a_bound(
    process: Process, service: Service, asked_for: float, waits: float
) -> None:
    """A Retry-After of any backend is cut, so that one answer cannot stop the site for a day."""
    service.failure = ConfigServiceUnavailable("503", reason="status", retry_after=asked_for)
    process.fetch("other")
    error = process.fetch().error
    assert isinstance(error, ConfigServiceUnavailable)
    assert (error.retry_after, process.service_health.breaker.wait()) == (waits, waits)


def test_backend_that_is_overdue_is_a_failure(
    process: Process, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls past their deadline open the breaker, and the log says that the backend is to blame."""
    for number in range(5):
        process.fetcher.overdue((f"id-{number}", None, 0))
    assert process.reason() == "circuit_open"
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "overruns CONFIG_SERVICE_TIMEOUT" in caplog.text


def test_id_rests_after_a_failure(process: Process, service: Service) -> None:
    """After a failure the id rests for RETRY_INTERVAL, and no other id does."""
    process.fetch()
    reading = read_minted(process.cache, "acme")
    service.failure = DOWN
    assert not process.fetcher.rests("acme", reading)
    process.fetch()
    assert process.fetcher.rests("acme", reading)
    assert not process.fetcher.rests("other", read_minted(process.cache, "other"))
    process.monotonic.now += 30
    assert not process.fetcher.rests("acme", reading)


def test_id_does_not_rest_after_an_invalidation(process: Process, service: Service) -> None:
    """An id whose fetch failed may be asked for again after an invalidation or expiry."""
    service.failure = DOWN
    process.fetch()
    process.cache.invalidate("acme")
    assert not process.fetcher.rests("acme", read_minted(process.cache, "acme"))
    process.fetch()
    process.cache.expire("acme")
    assert not process.fetcher.rests("acme", read_minted(process.cache, "acme"))


def test_refusal_rests_nobody(process: Process, service: Service) -> None:
    """After a refusal of one user the id does not rest."""
    service.failure = AccessDenied("no")
    process.fetch()
    assert not process.fetcher.rests("acme", read_minted(process.cache, "acme"))


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_ttl_remaining_of_a_clock_that_is_set_meanwhile(
    process: Process, service: Service, clock: Clock, jump: float
) -> None:
    """``ttl_remaining`` stays between 0 and the ttl, though the clock is set meanwhile."""

    def set_clock() -> None:
        clock.now += jump

    service.meanwhile = set_clock
    found = process.fetch().found
    assert found is not None
    assert found.ttl_remaining == (300 if jump < 0 else 0)


def test_document_from_before_the_last_drop_proves_nothing(
    process: Process, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """A document that was asked for before a loss does not show that the service is well."""
    names = ["a", "b", "c", "d"]
    service.instances |= {name: acme("first", instance_id=name) for name in names}
    for name in names:
        process.fetch(name)

    def lose() -> None:
        service.instances.clear()
        for name in names[:3]:
            assert isinstance(process.fetch(name).error, InstanceNotFound)

    service.meanwhile = lose
    assert bucket(process.fetch()) == "first"
    assert process.reason("d") == "everything_gone"


def test_backend_of_the_sites_own_is_logged_by_name(
    process: Process, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """For any error of a backend the log line says what failed, for which id, and what follows."""
    process.fetch()
    for failure in (InstanceNotFound("No such file."), ZeroDivisionError("of a backend")):
        service.failure = failure
        process.fetch()
    assert [record.getMessage() for record in caplog.records] == [
        "The Config Service does not know instance 'acme': No such file. Its copy in the cache is "
        "invalidated, and callers get 404. If it was not deleted, check CONFIG_SERVICE_URL and the "
        "service.",
        "The Config Service has no usable answer for instance 'acme': ZeroDivisionError: of a "
        "backend. Meanwhile callers get the copy in the cache, or 503 where there is none. This is "
        "a bug in the backend: see the traceback.",
    ]


def test_not_modified_without_a_copy_is_rejected() -> None:
    """A 304 without a copy is rejected, and does not count against the service."""
    service: Any = SimpleNamespace(get_instance=lambda asked, query: NotModified())
    process = Process(service)
    assert process.reason() == "rejected"
    assert process.service_health.breaker.is_closed


def test_not_modified_renews_the_copy(process: Process, service: Service) -> None:
    """A 304 keeps the document and makes it fresh for a whole ttl again."""
    process.fetch()
    service.calls.clear()
    outcome = process.fetch()
    assert bucket(outcome) == "first"
    assert outcome.found is not None
    assert math.isclose(outcome.found.ttl_remaining, 300)
    service.instances["acme"] = acme("second")
    assert bucket(process.fetch()) == "second"
