"""What the Config Service denies: instances that do not exist, and users it refuses."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceNotFound,
    InstanceResolver,
    LookupUser,
    Source,
)
from tests.support.gone import Service, then, with_stale_copy
from tests.support.insides import has_landed
from tests.support.lookups import ADA, OLGA, SAM, TWINS, Clock, Twin, asks
from tests.support.monotonic import Monotonic
from tests.support.servers import Answer, Received
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

OWN = "instance_generation:acme"


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("with_copy", [False, True])
def test_missing(
    resolver: InstanceResolver, service: Service, clock: Clock, status: int, with_copy: bool
) -> None:
    """A 404 or 410 is "not found", never a stale copy, and remembered for NEGATIVE_TTL."""
    if with_copy:
        with_stale_copy(resolver, clock)
    then(service, Answer(status))
    for _ in range(3):
        with pytest.raises(InstanceNotFound, match="Instance 'acme' does not exist"):
            resolver.resolve(asks())
    assert len(service.received) == 1
    clock.now += 30
    service.answers = Answer(500)
    with pytest.raises(ConfigServiceUnavailable):
        resolver.resolve(asks())


def test_denied_by_service(resolver: InstanceResolver, service: Service) -> None:
    """A 403 is this user's alone, and remembered for NEGATIVE_TTL, also for fresh copies."""
    monotonic = Monotonic(resolver)
    service.answers = lambda request: (
        Answer(403) if request.headers["X-User-ID"] == "olga" else service.answer(request)
    )
    with pytest.raises(AccessDenied):
        resolver.resolve(asks())
    assert resolver.resolve(asks(ADA)).source is Source.SERVICE
    with pytest.raises(AccessDenied):
        resolver.resolve(asks())
    assert len(service.received) == 2
    monotonic.now += 30
    assert resolver.resolve(asks()).source is Source.CACHE


def test_denied_by_service_never_stale(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """A 403 never leads to a stale copy; one that would have let the user in is dropped."""
    with_stale_copy(resolver, clock)
    before = caches["default"].get(OWN)
    service.answers = Answer(403)
    with pytest.raises(AccessDenied):
        resolver.resolve(asks(OLGA))
    assert caches["default"].get(OWN) != before
    service.answers = Answer(500)
    with pytest.raises(ConfigServiceUnavailable):
        resolver.resolve(asks(ADA))


def test_denied_by_service_and_by_policy(
    resolver: InstanceResolver, service: Service, clock: Clock
) -> None:
    """A copy that would not have let the refused user in anyway is kept for the others."""
    with_stale_copy(resolver, clock)
    service.answers = Answer(403)
    with pytest.raises(AccessDenied):
        resolver.resolve(asks(SAM))
    service.answers = Answer(500)
    assert resolver.resolve(asks(OLGA)).source is Source.STALE_CACHE


def refuse_late(resolver: InstanceResolver, service: Service, ask: Callable[[], Any]) -> Any:
    """Return what ``ask`` gives, which the service refuses after that."""
    gate = Event()

    def answer(request: Received) -> Answer:
        gate.wait(10)
        return Answer(403)

    service.answers = answer
    try:
        result = ask()
    finally:
        gate.set()
    wait_until(lambda: has_landed(resolver))
    return result


@pytest.mark.parametrize("twin", TWINS)
def test_denied_by_service_after_the_soft_timeout(
    make: Callable[..., InstanceResolver], service: Service, clock: Clock, twin: Twin
) -> None:
    """A 403 that comes late: the user's next request drops the copy, for all processes."""
    resolver = make(soft_timeout=0.05)
    with_stale_copy(resolver, clock)
    result = refuse_late(resolver, service, lambda: twin(resolver, "resolve", asks(OLGA)))
    assert result.source is Source.STALE_CACHE
    with pytest.raises(AccessDenied):
        twin(resolver, "resolve", asks(OLGA))
    service.answers = Answer(500)
    with pytest.raises(ConfigServiceUnavailable):
        twin(make(), "resolve", asks(ADA))


def test_denied_late_and_by_policy(
    make: Callable[..., InstanceResolver], service: Service, clock: Clock
) -> None:
    """A late 403 does not drop a copy that the policy would not have given to that user."""
    resolver = make(soft_timeout=0.05)
    with_stale_copy(resolver, clock)

    def ask() -> None:
        with pytest.raises(AccessDenied):
            resolver.resolve(asks(SAM))

    refuse_late(resolver, service, ask)
    ask()
    service.answers = Answer(500)
    assert make().resolve(asks(OLGA)).source is Source.STALE_CACHE


def test_denied_service_user(resolver: InstanceResolver, service: Service) -> None:
    """The site itself may be refused too; users are still served."""
    service.answers = Answer(403)
    with pytest.raises(AccessDenied):
        resolver.refresh("acme")
    service.answers = service.answer
    assert resolver.resolve(asks()).source is Source.SERVICE
    assert LookupUser.service().is_service
