"""A Config Service that says of one tenant after the other that it is gone."""

from __future__ import annotations

from threading import Barrier, Thread
from typing import TYPE_CHECKING

import pytest

from instance_lookup import ConfigServiceUnavailable, InstanceNotFound, InstanceResolver
from tests.outages.outages import Later
from tests.support.fetchers import down, unwritable
from tests.support.gone import (
    GONE,
    OLD,
    PAGE,
    Service,
    errors,
    fill,
    is_kept,
    outcome,
    outcomes,
    warnings,
)
from tests.support.insides import disconnect, has_landed
from tests.support.lookups import TWINS, Clock, Twin, asks, hooks
from tests.support.monotonic import Monotonic
from tests.support.servers import Answer, Received
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("status", [404, 410])
def test_fourth_copy_is_kept(
    resolver: InstanceResolver, service: Service, clock: Clock, twin: Twin, status: int
) -> None:
    """Three in a row are believed, and then it is an outage: stale, as long as there is a copy."""
    names = ["a", "b", "c", "d", "e", "f"]
    fill(resolver, clock, *names)
    service.answers = Answer(status)
    for found in (["not found"] * 3 + ["stale_cache"] * 3,) * 2:
        assert outcomes(resolver, *names, twin=twin) == found
    assert [is_kept(resolver, name) for name in names] == [False] * 3 + [True] * 3


@pytest.mark.parametrize("status", [404, 410])
def test_everything_gone_is_one_error(
    resolver: InstanceResolver,
    service: Service,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    """There is one error beside the three warnings; it says where, what, and what to do."""
    names = ["a", "b", "c", "d", "e", "f"]
    fill(resolver, clock, *names)
    service.answers = Answer(status)
    outcomes(resolver, *names, *names)
    assert len(warnings(caplog)) == 3
    assert errors(caplog) == [
        f"The Config Service at {service.url} does not know instance 'd' ({status}), nor the last "
        "3 of which there was a copy: it says that everything is gone. Meanwhile callers get the "
        "copy in the cache, or 404 where there is none. If these instances are really deleted, "
        "invalidate them. If not, check CONFIG_SERVICE_URL and the service."
    ]


def lost(resolver: InstanceResolver, service: Service, clock: Clock, *more: str) -> None:
    """Have three copies dropped, so that of ``more`` none is."""
    fill(resolver, clock, "x", "y", "z", *more)
    service.gone = None
    assert outcomes(resolver, "x", "y", "z") == ["not found"] * 3


def test_document_in_between_ends_the_count(
    resolver: InstanceResolver, service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A site that deletes its tenants, and has others, is believed each time."""
    names = [f"i{number}" for number in range(9)]
    fill(resolver, clock, *names)
    for number, name in enumerate(names):
        service.gone = {name}
        assert outcome(resolver, name) == "not found"
        if number % 2:
            assert outcome(resolver, f"new{number}") == "service"
    assert errors(caplog) == []


def test_not_modified_ends_the_count(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """A 304 says as much as a 200: the service knows that instance."""

    def tagged(request: Received) -> Answer:
        if request.headers["If-None-Match"]:
            return Answer(304)
        return service.answer(request)

    service.answers = tagged
    fill(resolver, clock, "acme", "a", "b", "c", "d")
    service.answers = lambda request: Answer(404)
    assert outcomes(resolver, "a", "b", "c") == ["not found"] * 3
    service.answers = tagged
    assert outcome(resolver) == "service"
    service.answers = lambda request: Answer(404)
    assert outcome(resolver, "d") == "not found"


@pytest.mark.parametrize("between", [Answer(500), Answer(403), Answer(200, b"<p>"), PAGE])
def test_other_answers_do_not_end_the_count(
    resolver: InstanceResolver, service: Service, clock: Clock, between: Answer
) -> None:
    """Answers other than documents do not show that the service knows the tenants."""
    lost(resolver, service, clock, "a")
    service.answers = between
    outcome(resolver, "other")
    service.answers = service.answer
    assert outcome(resolver, "a") == "stale_cache"


def test_one_id_many_times_is_one(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """A tenant that is created and deleted in turn, by a tool that writes the cache itself."""
    fill(resolver, clock, "acme", "b")
    copy = resolver.cache.get("acme", allow_stale=True)
    assert copy is not None
    service.gone = None
    for _ in range(5):
        assert outcome(resolver) == "not found"
        resolver.cache.set("acme", copy.config)
        resolver.cache.expire("acme")
    assert outcome(resolver, "b") == "not found"


def test_projects_count_as_well(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    """Deleted projects count together with deleted instances."""
    for name in ("p", "q", "r"):
        resolver.resolve(asks(instance_id=None, project_id=name))
    clock.now += 300
    service.gone = {"p", "q", "r", "acme"}
    for name in ("p", "q", "r"):
        with pytest.raises(InstanceNotFound):
            resolver.resolve(asks(instance_id=None, project_id=name))
    assert outcome(resolver) == "stale_cache"


def test_unknown_ids_are_answered_meanwhile(
    resolver: InstanceResolver, service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Unknown ids without a copy get 404, and do not end the doubt."""
    lost(resolver, service, clock, "a", "b")
    assert outcome(resolver, "a") == "stale_cache"
    assert outcomes(resolver, "new", "new") == ["not found"] * 2
    assert outcome(resolver, "b") == "stale_cache"
    assert len(errors(caplog)) == 1
    assert len(warnings(caplog)) == 3


def test_unknown_ids_are_no_evidence(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """Requests for made-up ids do not keep a deleted tenant in the cache."""
    fill(resolver, clock, "acme")
    service.gone = None
    for name in ("m1", "m2", "m3", "m4"):
        assert outcome(resolver, name) == "not found"
    assert outcome(resolver) == "not found"


@pytest.mark.parametrize("twin", TWINS)
def test_refresh_keeps_the_copy_meanwhile(
    resolver: InstanceResolver, service: Service, clock: Clock, twin: Twin
) -> None:
    """``refresh`` raises an error with the reason, and the copy is kept."""
    lost(resolver, service, clock, "a")
    with pytest.raises(ConfigServiceUnavailable) as caught:
        twin(resolver, "refresh", "a")
    assert caught.value.details == {"reason": "everything_gone", "instance_id": "a"}
    assert is_kept(resolver, "a")


def test_background_keeps_the_copy_meanwhile(
    resolver: InstanceResolver, service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A refresh ahead drops nothing, and the fresh copy is served."""
    fill(resolver, clock, "x", "y", "z", age=300)
    fill(resolver, clock, "a", age=OLD)
    service.gone = None
    for name in ("x", "y", "z"):
        assert outcome(resolver, name) == "not found"
    assert outcome(resolver, "a") == "cache"
    wait_until(lambda: errors(caplog))
    wait_until(lambda: has_landed(resolver))
    assert outcome(resolver, "a") == "cache"


def test_background_drops_what_is_deleted(
    resolver: InstanceResolver, service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A single one is believed there as well, and told."""
    fill(resolver, clock, "acme", age=OLD)
    service.gone = None
    assert outcome(resolver) == "cache"
    wait_until(lambda: not is_kept(resolver))
    assert outcome(resolver) == "not found"
    assert len(warnings(caplog)) == 1


def test_kept_copy_rests(resolver: InstanceResolver, service: Service, clock: Clock) -> None:
    """For a kept copy the service is asked once per RETRY_INTERVAL."""
    later = Later(resolver)
    lost(resolver, service, clock, "a")
    for calls in (1, 2):
        service.received.clear()
        assert [outcome(resolver, "a") for _ in range(5)] == ["stale_cache"] * 5
        assert len(service.received) == 1, calls
        later.passed += 30


def test_kept_copies_do_not_open_the_breaker(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """The service is there, and quick; ids without a copy have their answer."""
    names = [f"i{number}" for number in range(8)]
    lost(resolver, service, clock, *names)
    assert outcomes(resolver, *names) == ["stale_cache"] * 8
    assert outcome(resolver, "new") == "not found"


def test_document_ends_it(
    resolver: InstanceResolver, service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A document for any id ends the doubt: all ids are asked for, and 404s are believed again."""
    lost(resolver, service, clock, "a", "b")
    assert outcomes(resolver, "a", "b") == ["stale_cache"] * 2
    service.gone = {"b"}
    assert outcome(resolver, "new") == "service"
    assert outcomes(resolver, "a", "b") == ["service", "not found"]
    assert len(errors(caplog)) == 1
    assert "answers with documents again" in warnings(caplog)[3]


def test_project_that_is_found_ends_it(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """A project's document ends the doubt as well."""
    lost(resolver, service, clock, "a")
    service.gone = {"a", "acme"}
    with pytest.raises(InstanceNotFound):
        resolver.resolve(asks(instance_id=None, project_id="shop"))
    assert outcome(resolver, "a") == "not found"


def test_kept_copy_ends_at_its_age(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """STALE_MAX_AGE is the end of it, as in any outage."""
    lost(resolver, service, clock, "a")
    monotonic = Monotonic(resolver)
    assert outcome(resolver, "a") == "stale_cache"
    monotonic.now += 3300
    clock.now += 3300
    assert outcome(resolver, "a") == "not found"


def test_invalidation_takes_the_copy_out(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """An explicit invalidation drops a kept copy."""
    lost(resolver, service, clock, "a")
    assert outcome(resolver, "a") == "stale_cache"
    resolver.invalidate_cache("a")
    assert outcome(resolver, "a") == "not found"


def test_without_stale_copies_it_is_503(
    make: Callable[..., InstanceResolver],
    service: Service,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """USE_STALE_ON_ERROR=False means no stale copy ever; it is kept for when all is well."""
    resolver = make(use_stale_on_error=False)
    lost(resolver, service, clock, "a")
    assert outcome(resolver, "a") == "everything_gone"
    assert is_kept(resolver, "a")
    assert "Meanwhile callers get 503, or 404 where there is no copy." in errors(caplog)[0]


def test_each_resolver_counts_for_itself(
    make: Callable[..., InstanceResolver], service: Service, clock: Clock
) -> None:
    """Each resolver believes three deletions of its own, as each process does."""
    one, other = make(), make()
    fill(one, clock, "a", "b", "c", "d")
    service.gone = None
    assert outcomes(one, "a", "b", "c") == ["not found"] * 3
    assert outcome(other, "d") == "not found"


def test_many_at_once_drop_three(
    resolver: InstanceResolver, service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Twelve lookups whose 404s are all under way together."""
    names = [f"i{number}" for number in range(12)]
    fill(resolver, clock, *names)
    arrived = Barrier(12)

    def gone(request: Received) -> Answer:
        arrived.wait(5)
        return GONE

    service.answers = gone
    found: list[str] = []
    threads = [
        Thread(target=lambda name=name: found.append(outcome(patient, name))) for name in names
    ]
    patient = InstanceResolver(config_service_url=service.url, soft_timeout=5)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(found) == ["not found"] * 3 + ["stale_cache"] * 9
    assert sum(is_kept(resolver, name) for name in names) == 9
    assert len(warnings(caplog)) == 3
    assert len(errors(caplog)) == 1
    disconnect(patient.backend)


# --- while the cache is down --------------------------------------------------------------------


def test_cache_that_is_down_has_each_404_believed(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """While the cache is down each 404 is believed: a deleted tenant must not come back."""
    names = [f"i{number}" for number in range(8)]
    later = Later(resolver)
    fill(resolver, clock, *names)
    service.gone = None
    with hooks(down):
        assert outcomes(resolver, *names) == ["not found"] * 8
    later.passed += 5
    assert outcomes(resolver, *names) == ["not found"] * 8


def test_made_up_ids_bring_no_deleted_tenant_back(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """While the cache is down anyone can ask for ids of which there was never a copy."""
    later = Later(resolver)
    fill(resolver, clock, "acme")
    service.gone = None
    with hooks(down):
        assert outcomes(resolver, "x", "y", "z", "acme") == ["not found"] * 4
    service.answers = Answer(500)
    later.passed += 5
    assert outcome(resolver) == "status"


def test_cache_that_goes_down_in_doubt_keeps_its_copies(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """The service says that everything is gone: what the cache holds is not given up for that."""
    later = Later(resolver)
    fill(resolver, clock, "a", "b", "c", "d", "e")
    service.gone = None
    assert outcomes(resolver, "a", "b", "c") == ["not found"] * 3
    with hooks(down):
        assert outcome(resolver, "e") == "not found"
    later.passed += 5
    assert outcome(resolver, "e") == "stale_cache"


def test_cache_that_is_down_and_one_that_is_gone(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """A tenant deleted while the cache is down is not served from the cache later."""
    later = Later(resolver)
    fill(resolver, clock, "acme")
    service.gone = None
    with hooks(down):
        assert outcome(resolver) == "not found"
        assert outcome(resolver) == "not found"
    service.answers = Answer(500)
    later.passed += 5
    assert outcome(resolver) == "status"


@pytest.mark.usefixtures("refuses_at_once")
def test_cache_that_cannot_be_written_keeps_the_fourth(
    resolver: InstanceResolver, service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A read-only cache can be read: dropped copies are counted, logged, and not served."""
    fill(resolver, clock, "a", "b", "c", "d")
    service.gone = None
    with hooks(unwritable):
        found = outcomes(resolver, "a", "b", "c", "d")
    assert found == ["not found"] * 3 + ["stale_cache"]
    assert sum("does not know instance" in line for line in warnings(caplog)) == 3
    assert outcome(resolver, "a") == "not found"
