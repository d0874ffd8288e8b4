"""404s that are not about the tenant: another's page; and what is told of those that are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from instance_lookup import (
    ConfigServiceUnavailable,
    InstanceNotFound,
    InstanceResolver,
    Source,
    get_resolver,
)
from tests.outages.outages import Later
from tests.support.gone import (
    OLD,
    PAGE,
    Service,
    errors,
    fill,
    is_kept,
    outcome,
    warnings,
)
from tests.support.insides import has_landed
from tests.support.lookups import TWINS, Clock, Twin, asks, hooked_caches
from tests.support.monotonic import Monotonic
from tests.support.servers import Answer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance_lookup import LookupContext

FAILURES = 5
"""BREAKER_FAILURES, as it is without a setting."""


# --- another's page -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("twin", TWINS)
def test_page_is_bridged_by_the_copy(
    resolver: InstanceResolver, service: Service, clock: Clock, twin: Twin, status: int
) -> None:
    """A 404 from another server counts as a failure: the stale copy is served and kept."""
    fill(resolver, clock, "acme")
    service.answers = Answer(status, PAGE.body, PAGE.headers)
    for _ in range(3):
        assert outcome(resolver, twin=twin) == "stale_cache"
    assert len(service.received) == 2
    assert is_kept(resolver)


@pytest.mark.parametrize("twin", TWINS)
def test_page_without_a_copy_is_503(
    resolver: InstanceResolver, service: Service, twin: Twin
) -> None:
    """A 404 from another server without a copy is a 503, and is not remembered."""
    service.answers = PAGE
    assert outcome(resolver, twin=twin) == "not_the_service"
    service.answers = service.answer
    assert outcome(resolver, twin=twin) == "service"


@pytest.mark.parametrize("twin", TWINS)
def test_page_is_forgotten_with_the_next_document(
    resolver: InstanceResolver, service: Service, twin: Twin
) -> None:
    """The service is back: what it was not asked for meanwhile is asked for at once."""
    Monotonic(resolver)
    service.answers = PAGE
    for _ in range(FAILURES):
        assert outcome(resolver, twin=twin) == "not_the_service"
    assert outcome(resolver, twin=twin) == "backing_off"
    service.answers = service.answer
    assert outcome(resolver, "beta", twin) == "service"
    assert outcome(resolver, twin=twin) == "service"


def test_page_for_a_project_is_a_failure(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """A project's mapping is kept and served stale, as an instance is."""
    context: LookupContext = asks(instance_id=None, project_id="shop")
    resolver.resolve(context)
    clock.now += 300
    service.answers = PAGE
    assert resolver.resolve(context).source is Source.STALE_CACHE
    assert resolver.projects.read("shop").entry is not None


def test_page_for_an_expired_copy_keeps_it(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """``expire`` said "it has changed", not "it is gone"."""
    fill(resolver, clock, "acme", age=0)
    resolver.cache.expire("acme")
    service.answers = PAGE
    assert outcome(resolver) == "stale_cache"


@pytest.mark.parametrize("twin", TWINS)
def test_page_for_a_refresh_keeps_the_copy(
    resolver: InstanceResolver, service: Service, clock: Clock, twin: Twin
) -> None:
    """``refresh`` raises an error, and other callers are still served the copy."""
    fill(resolver, clock, "acme", age=0)
    service.answers = PAGE
    with pytest.raises(ConfigServiceUnavailable) as caught:
        twin(resolver, "refresh", "acme")
    assert caught.value.details["reason"] == "not_the_service"
    assert outcome(resolver) == "cache"


def test_page_in_the_background_keeps_the_copy(
    resolver: InstanceResolver, service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A refresh ahead that fails is logged and costs no caller anything."""
    fill(resolver, clock, "acme", age=OLD)
    service.answers = PAGE
    assert outcome(resolver) == "cache"
    wait_until(lambda: errors(caplog))
    wait_until(lambda: has_landed(resolver))
    assert outcome(resolver) == "cache"
    assert is_kept(resolver)


def test_page_is_one_error_and_one_recovery(
    resolver: InstanceResolver, service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """One error is logged for all ids and lookups; it says where, what, and what to look at."""
    names = ["a", "b", "c"]
    later = Later(resolver)
    fill(resolver, clock, *names)
    service.answers = PAGE
    for _ in range(3):
        for name in names:
            outcome(resolver, name)
        later.passed += 60
    assert warnings(caplog) == []
    (line,) = errors(caplog)
    assert line == (
        f"The Config Service at {service.url} gave no usable answer for instance 'a': "
        "not_the_service (404, and the body is not JSON: 'text/html'). Meanwhile callers get the "
        "copy in the cache, or 503 where there is none. Check CONFIG_SERVICE_URL, and what stands "
        "in front of the service."
    )
    service.answers = service.answer
    assert [outcome(resolver, name) for name in names] == ["service"] * 3
    assert warnings(caplog) == [
        f"The Config Service at {service.url} answers with documents again: when it says that an "
        "instance is gone, that is believed again."
    ]


def test_page_opens_the_breaker(resolver: InstanceResolver, service: Service) -> None:
    """A wrong URL costs no more calls than a service that is down."""
    service.answers = PAGE
    found = [outcome(resolver, f"i{number}") for number in range(7)]
    assert found == ["not_the_service"] * 5 + ["circuit_open"] * 2


def test_page_rests_until_a_document(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """An id rests for RETRY_INTERVAL, but no longer than until the service is back."""
    fill(resolver, clock, "a", "b")
    service.answers = PAGE
    assert [outcome(resolver, name) for name in ("a", "a")] == ["stale_cache"] * 2
    service.answers = service.answer
    assert outcome(resolver) == "service"
    assert outcome(resolver, "a") == "service"


@pytest.mark.parametrize("status", [404, 410])
def test_own_word_is_no_recovery_from_a_page(
    resolver: InstanceResolver,
    service: Service,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    """Half of an ingress's answers are JSON, half are pages: that is one error."""
    service.answers = PAGE
    outcome(resolver, "a")
    service.answers = Answer(status)
    assert outcome(resolver, "b") == "not found"
    service.answers = PAGE
    outcome(resolver, "c")
    assert len(errors(caplog)) == 1
    assert warnings(caplog) == []


# --- a live copy that is dropped ----------------------------------------------------------------


@pytest.mark.parametrize(
    "case", [(404, 0), (404, OLD), (404, 300), (404, 3599), (410, 0), (410, 300)]
)
def test_live_copy_that_is_dropped_is_a_warning(
    make: Callable[..., InstanceResolver],
    service: Service,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    case: tuple[int, float],
) -> None:
    """A tenant was served, and is no more: which, on whose word, and what if that is wrong."""
    resolver, (status, age) = make(), case
    fill(resolver, clock, "acme", age=age)
    service.answers = Answer(status)
    for _ in range(2):
        with pytest.raises(InstanceNotFound):
            resolver.refresh("acme")
    assert warnings(caplog) == [
        f"The Config Service at {service.url} does not know instance 'acme' ({status}). Its copy "
        "in the cache is invalidated, and callers get 404. If it was not deleted, check "
        "CONFIG_SERVICE_URL and the service."
    ]
    assert not is_kept(resolver)


@pytest.mark.parametrize("twin", TWINS)
def test_unknown_id_is_no_warning(
    resolver: InstanceResolver, service: Service, caplog: pytest.LogCaptureFixture, twin: Twin
) -> None:
    """A request for a made-up id logs nothing, however often it is repeated."""
    service.gone = None
    for name in ("a", "b", "c", "d", "e"):
        assert outcome(resolver, name, twin) == "not found"
    assert outcome(resolver, "a", twin) == "not found"
    assert caplog.records == []


def test_purged_copy_is_no_warning(
    resolver: InstanceResolver, service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A copy that was too old to be served is dropped without a warning."""
    fill(resolver, clock, "acme", age=3600)
    service.gone = None
    assert outcome(resolver) == "not found"
    assert caplog.records == []


def test_dropped_project_is_a_warning(
    resolver: InstanceResolver, service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning for a dropped project names the project."""
    context = asks(instance_id=None, project_id="shop")
    resolver.resolve(context)
    clock.now += 300
    service.gone = {"shop"}
    with pytest.raises(InstanceNotFound):
        resolver.resolve(context)
    (line,) = warnings(caplog)
    assert "does not know project 'shop' (404)" in line


# --- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["/wrong", "/v2/api"])
def test_warming_from_a_wrong_url_keeps_what_is_fresh(
    service: Service, base: str, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    """Warming from a wrong URL fails, says what is wrong, and keeps fresh entries."""
    settings: dict[str, Any] = {"CONFIG_SERVICE_URL": service.url}
    with override_settings(CACHES=hooked_caches(), INSTANCE_LOOKUP=settings):
        call_command("warm_instance_cache", "acme", "globex")
        service.answers = PAGE
        with override_settings(INSTANCE_LOOKUP={"CONFIG_SERVICE_URL": service.url + base}):
            with pytest.raises(CommandError) as caught:
                call_command("warm_instance_cache", "acme", "globex")
            assert caught.value.returncode == 2
            assert get_resolver().cache.has("acme")
            assert get_resolver().cache.has("globex")
    assert "acme: CONFIG_SERVICE_UNAVAILABLE (not_the_service): " in capsys.readouterr().err
    (line,) = errors(caplog)
    assert f"{service.url}{base} gave no usable answer" in line
