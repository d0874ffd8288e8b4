"""Warming the cache a chunk at a time, for queues: a job makes room for others, and goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from instance_lookup.inspection import StaleOnly
from instance_lookup.outcomes import Failure
from instance_lookup.registry import get_resolver
from instance_lookup.warming import warm

if TYPE_CHECKING:
    from collections.abc import Sequence

FAILURES_KEPT = 100
"""Of how many failures the report tells; it counts them all."""


def warm_chunk(
    instance_ids: Sequence[str] | None,
    *,
    only_stale: bool,
    rate: float | None,
    chunk: int,
    concurrency: int,
    so_far: dict[str, Any] | None,
    can_go_on: bool,
) -> tuple[dict[str, Any], list[str]]:
    """Fetch and store the first ``chunk`` of instances; return the report, and the ids left.

    ``instance_ids`` are all that the Config Service lists where none are given. All are done at
    once where the queue cannot go on later, by ``can_go_on``. With ``only_stale`` those whose copy
    is fresh, or absent, are skipped. ``rate`` and ``concurrency`` are those of
    :func:`instance_lookup.warming.warm`. ``so_far`` is the report of the chunks before.

    Raises ``ValueError`` for a number that is out of range, and ``ConfigServiceUnavailable`` where
    there is no list.
    """
    if chunk < 1:
        raise ValueError(f"chunk must be 1 or more, not {chunk!r}")
    resolver = get_resolver()
    # All are listed once: a list that is read from its start for each chunk costs more.
    ids = list(dict.fromkeys(resolver.instance_ids() if instance_ids is None else instance_ids))
    size = chunk if can_go_on else len(ids)
    now, later = ids[:size], ids[size:]
    stale = StaleOnly(resolver, now) if only_stale else None
    outcomes = warm(resolver, now if stale is None else stale, rate=rate, concurrency=concurrency)
    report = so_far or {"done": 0, "failed": 0, "failures": []}
    for outcome in outcomes:
        if not isinstance(outcome, Failure):
            report["done"] += 1
            continue
        report["failed"] += 1
        if len(report["failures"]) < FAILURES_KEPT:
            report["failures"].append(outcome.as_dict())
    if stale is not None:
        report["skipped"] = report.get("skipped", 0) + stale.skipped
    return report, later
