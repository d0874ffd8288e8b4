"""Fills the cache before it is needed: each configuration is fetched again and stored."""

from __future__ import annotations

from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from math import inf
from time import monotonic, sleep
from typing import TYPE_CHECKING

from instance_lookup.concurrency.pace import Pace
from instance_lookup.concurrency.threads import DaemonPool
from instance_lookup.exceptions import CacheError
from instance_lookup.outcomes import Failure, awaiting_each, once_each

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from instance_lookup.resolver import InstanceResolver

MAX_CONCURRENCY = 64

_AT_A_TIME = 0.5
"""Seconds. Python sees a Ctrl-C that comes just before it waits only when the wait is over."""

_Call = Future[str | Failure | None]


def warm(
    resolver: InstanceResolver,
    instance_ids: Iterable[str | Failure],
    *,
    concurrency: int = 8,
    rate: float | None = None,
    fail_fast: bool = False,
) -> Iterator[str | Failure]:
    """Fetch and store instances, ``concurrency`` at a time; yield the id of each, or a failure.

    ``resolver`` fetches and has the cache. ``instance_ids`` is read as it is needed; an id that
    comes twice is fetched once, and a failure among them is yielded as it is. At most ``rate``
    calls a second begin (``None``: no limit), evenly, in all threads together. With ``fail_fast``
    nothing is begun after the first failure; what is under way is still yielded.
    Raises ``ValueError`` for a ``concurrency`` that is not from 1 to ``MAX_CONCURRENCY``, and for a
    ``rate`` that is no positive number.
    """
    if not 1 <= concurrency <= MAX_CONCURRENCY:
        raise ValueError(f"concurrency must be from 1 to {MAX_CONCURRENCY}, not {concurrency!r}")
    if rate is not None and not 0 < rate < inf:
        raise ValueError(f"rate must be a positive number of calls a second, not {rate:g}")
    pace = Pace(rate, monotonic)
    return _warm(resolver, once_each(instance_ids), concurrency, pace, fail_fast=fail_fast)


def awarm(
    resolver: InstanceResolver,
    instance_ids: Iterable[str | Failure],
    *,
    concurrency: int = 8,
    rate: float | None = None,
    fail_fast: bool = False,
) -> AsyncIterator[str | Failure]:
    """Yield what :func:`warm` does, without blocking the event loop.

    Its arguments are those of :func:`warm`, and so is what it raises. ``instance_ids`` is read in a
    thread.
    """
    return awaiting_each(
        warm(resolver, instance_ids, concurrency=concurrency, rate=rate, fail_fast=fail_fast)
    )


def _warm(
    resolver: InstanceResolver,
    ids: Iterator[str | Failure],
    concurrency: int,
    pace: Pace,
    *,
    fail_fast: bool,
) -> Iterator[str | Failure]:
    # An idle worker ends soon, and closes its database connections as it does.
    pool = DaemonPool("instance-lookup-warm", concurrency, idle_seconds=0.5)
    calls: dict[_Call, str] = {}
    upcoming: deque[str | Failure] = deque()
    tried: set[str] = set()
    # The first alone: it mints the generation that all share, which threads would overwrite for
    # each other in a cache whose "add" is not atomic (the file-based one).
    room = 1
    while True:
        left = 0.0
        # The pace is kept here, by the one thread that begins them all. Workers that waited for
        # their turn would still call after a failure or a Ctrl-C.
        while len(calls) < room:
            # The next one before its turn comes: after the last there is no turn to wait for.
            upcoming.extend(islice(ids, 0 if upcoming else 1))
            if not upcoming or (left := pace.left()):
                break
            match upcoming.popleft():
                case str(one):
                    pace.begin()
                    calls[pool.submit(_warm_one, resolver, one)] = one
                case failure:
                    yield failure
                    ids = iter(()) if fail_fast else ids
        if not calls and not upcoming:
            return
        if not calls:
            sleep(min(left, _AT_A_TIME))
            continue
        for call in wait(calls, min(left or _AT_A_TIME, _AT_A_TIME), FIRST_COMPLETED).done:
            room, one, outcome = concurrency, calls.pop(call), call.result()
            if outcome is None and one not in tried:
                tried.add(one)
                upcoming.appendleft(one)  # once more: it may have been invalidated meanwhile
                continue
            outcome = outcome or _not_kept(resolver, one)
            yield outcome
            if fail_fast and isinstance(outcome, Failure):
                ids = iter(())
                upcoming = deque(each for each in upcoming if each in tried)


def _warm_one(resolver: InstanceResolver, instance_id: str) -> str | Failure | None:
    """Return the id of an instance that was fetched, ``None`` if the cache did not keep it."""
    try:
        resolver.refresh(instance_id)
        # A lookup works with a cache that keeps nothing; here that is a failure.
        is_kept = resolver.cache.tiers.shared.peek(instance_id).entry is not None
    except Exception as exc:  # noqa: BLE001 - of one instance; the others go on
        return Failure.of(instance_id, exc)
    return instance_id if is_kept else None


def _not_kept(resolver: InstanceResolver, instance_id: str) -> Failure:
    alias = resolver.settings.cache_alias
    message = f"The cache did not keep {instance_id!r}: check that CACHES[{alias!r}] has room."
    return Failure.of(instance_id, CacheError(message, instance_id=instance_id))
