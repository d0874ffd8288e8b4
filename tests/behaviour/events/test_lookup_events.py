"""Lookups and denials, as they are told to those who watch."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from instance_lookup import InstanceLookupError, InstanceResolver, LookupContext, LookupUser
from instance_lookup.events import Began, Denial, Invalidation, Lookup
from instance_lookup.exceptions import AccessDenied
from tests.support.lookups import DOWN, OLGA, SAM, Clock, Service, Twin, asks, project

if TYPE_CHECKING:
    from tests.support.watching import Told


def ended(told: Told) -> list[tuple[str | None, str, str | None]]:
    return [(each.source, each.outcome, each.instance_id) for each in told.of(Lookup)]


def test_answers(resolver: InstanceResolver, call: Twin, told: Told) -> None:
    """Each lookup is told as it begins and as it ends: from the service, then from the cache."""
    call(resolver, "resolve", asks())
    call(resolver, "resolve", asks())
    assert ended(told) == [("service", "ok", "acme"), ("cache", "ok", "acme")]
    assert [each.what for each in told.of(Began)] == ["lookup", "service_call", "lookup"]
    assert all(each.seconds > 0 for each in told.of(Lookup))


def test_stale_copy(
    resolver: InstanceResolver, call: Twin, told: Told, clock: Clock, service: Service
) -> None:
    """Of a stale copy is told how old it is, and for how long it may yet be served."""
    call(resolver, "resolve", asks())
    clock.now += 600
    service.failure = DOWN
    call(resolver, "resolve", asks())
    last = told.of(Lookup)[-1]
    assert (last.source, last.outcome) == ("stale_cache", "ok")
    assert (last.stale_age, last.runway) == (600, 3000)


@pytest.mark.parametrize(
    ("context", "outcome", "instance_id", "by"),
    [
        (asks(instance_id="not an id"), "invalid_context", None, []),
        (asks(instance_id=None), "invalid_context", None, []),
        (asks(LookupUser.anonymous()), "access_denied", None, ["anonymous"]),
        (asks(SAM), "access_denied", "acme", ["policy"]),
        (asks(OLGA, "refused"), "access_denied", "refused", ["service"]),
        (asks(OLGA, "nothing"), "instance_not_found", "nothing", []),
        (project(OLGA, "nothing"), "instance_not_found", None, []),
    ],
)
def test_errors(  # noqa: PLR0917  # fixtures, and what varies
    resolver: InstanceResolver,
    call: Twin,
    told: Told,
    service: Service,
    context: LookupContext,
    outcome: str,
    instance_id: str | None,
    by: list[str],
) -> None:
    """A lookup that fails is told, whether it took I/O or not; a denial says who denied."""
    service.failure = AccessDenied("no") if by == ["service"] else None
    with pytest.raises(InstanceLookupError):
        call(resolver, "resolve", context)
    assert ended(told) == [(None, outcome, instance_id)]
    assert [each.by for each in told.of(Denial)] == by


def test_blocked_instance(resolver: InstanceResolver, call: Twin, told: Told) -> None:
    """A block denies, and to set it is an invalidation."""
    call(resolver.cache, "block", "acme", 3600)
    with pytest.raises(AccessDenied):
        call(resolver, "resolve", asks())
    assert told.of(Invalidation) == [Invalidation("instance", "here")]
    assert [each.by for each in told.of(Denial)] == ["block"]


def test_service_is_down(
    resolver: InstanceResolver, call: Twin, told: Told, service: Service
) -> None:
    """Without a copy an outage is the outcome."""
    service.failure = DOWN
    with pytest.raises(InstanceLookupError):
        call(resolver, "resolve", asks())
    assert ended(told) == [(None, "config_service_unavailable", "acme")]


def test_bug_in_a_policy(call: Twin, told: Told, service: Service) -> None:
    """An error that is none of ours is told as one."""

    class Broken:
        def allows(self, user: LookupUser, config: object) -> bool:
            raise LookupError

    resolver = InstanceResolver(config_service_backend=service, access_policy=Broken())
    with pytest.raises(LookupError):
        call(resolver, "resolve", asks())
    assert ended(told) == [(None, "error", None)]


async def test_caller_who_is_cancelled(
    resolver: InstanceResolver, told: Told, service: Service
) -> None:
    """A lookup that is not waited for any more is told in the task that was cancelled."""
    began, going_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    service.meanwhile = lambda: (loop.call_soon_threadsafe(began.set), going_on.wait(10))
    task = asyncio.create_task(resolver.aresolve(asks()))
    await began.wait()
    task.cancel()
    await asyncio.wait([task])
    assert ended(told) == [(None, "cancelled", None)]
    going_on.set()


def test_near_hits_are_counted_only(service: Service, call: Twin, told: Told) -> None:
    """A hit in this process's memory is no event, and shows in the statistics twice."""
    resolver = InstanceResolver(config_service_backend=service, near_cache_size=10)
    for _ in range(4):
        call(resolver, "resolve", asks())
    assert [source for source, *_ in ended(told)] == ["service", "cache"]
    stats = resolver.get_cache_stats()
    assert (stats.hits, stats.near_hits) == (3, 2)


def test_unwatched_lookup(resolver: InstanceResolver, call: Twin) -> None:
    """Nothing is told where nothing watches, and answers are the same."""
    assert call(resolver, "resolve", asks()).config.instance_id == "acme"
