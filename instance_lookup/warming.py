"""Fills the cache before it is needed: each configuration is fetched again and stored."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from typing import TYPE_CHECKING

from instance_lookup.concurrency.threads import DaemonPool
from instance_lookup.exceptions import CacheError
from instance_lookup.outcomes import Failure, once_each

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instance_lookup.resolver import InstanceResolver

MAX_CONCURRENCY = 64

_AT_A_TIME = 0.5
"""Seconds. Python sees a Ctrl-C that comes just before it waits only when the wait is over."""


def warm(
    resolver: InstanceResolver,
    instance_ids: Iterable[str],
    *,
    concurrency: int = 8,
    fail_fast: bool = False,
) -> Iterator[str | Failure]:
    """Fetch and store instances, ``concurrency`` at a time; yield the id of each, or a failure.

    ``resolver`` fetches and has the cache. ``instance_ids`` is read as it is needed; an id that
    comes twice is fetched once. With ``fail_fast`` nothing is begun after the first failure; what
    is under way is still yielded.
    Raises ``ValueError`` for a ``concurrency`` that is not from 1 to ``MAX_CONCURRENCY``.
    """
    if not 1 <= concurrency <= MAX_CONCURRENCY:
        raise ValueError(f"concurrency must be from 1 to {MAX_CONCURRENCY}, not {concurrency!r}")
    return _warm(resolver, once_each(instance_ids), concurrency, fail_fast=fail_fast)


def _warm(
    resolver: InstanceResolver, ids: Iterator[str], concurrency: int, *, fail_fast: bool
) -> Iterator[str | Failure]:
    # An idle worker ends soon, and closes its database connections as it does.
    pool = DaemonPool("instance-lookup-warm", concurrency, idle_seconds=0.5)

    def begin(count: int) -> set[Future[str | Failure]]:
        return {pool.submit(_warm_one, resolver, one) for one in islice(ids, count)}

    # The first alone: it mints the generation that all share, which threads would overwrite for
    # each other in a cache whose "add" is not atomic (the file-based one).
    running = begin(1)
    while running:
        done, running = wait(running, _AT_A_TIME, FIRST_COMPLETED)
        outcomes = [future.result() for future in done]
        yield from outcomes
        if fail_fast and any(isinstance(outcome, Failure) for outcome in outcomes):
            ids = iter(())
        running |= begin(concurrency - len(running) if done else 0)


def _warm_one(resolver: InstanceResolver, instance_id: str) -> str | Failure:
    try:
        for _ in range(2):
            resolver.refresh(instance_id)
            # A lookup works with a cache that keeps nothing; here that is a failure.
            if resolver.cache.tiers.shared.peek(instance_id).entry is not None:
                return instance_id
            # Once more: it may have been invalidated meanwhile.
        alias = resolver.settings.cache_alias
        raise CacheError(
            f"The cache did not keep {instance_id!r}: check that CACHES[{alias!r}] has room.",
            instance_id=instance_id,
        )
    except Exception as exc:  # noqa: BLE001 - of one instance; the others go on
        return Failure.of(instance_id, exc)
