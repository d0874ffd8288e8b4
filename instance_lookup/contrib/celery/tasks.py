"""Warming and refreshing the cache as tasks, a chunk at a time and at a steady rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import shared_task

from instance_lookup.exceptions import ConfigServiceUnavailable
from instance_lookup.jobs.warming import warm_chunk

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPTIONS: dict[str, Any] = {
    # After a worker that died in it the chunk is done once more, which does no harm.
    "acks_late": True,
    "autoretry_for": (ConfigServiceUnavailable,),  # of the list of instances
    "bind": True,
    "retry_backoff": True,
}


@shared_task(name="instance_lookup.warm_instances", **_OPTIONS)  # type: ignore[untyped-decorator]
def warm_instances(
    self: Any,
    instance_ids: Sequence[str] | None = None,
    *,
    rate: float | None = 10.0,
    chunk: int = 100,
    concurrency: int = 8,
    so_far: dict[str, Any] | None = None,
) -> Any:
    """Fetch the configurations of instances for the site itself, and store them in the cache.

    ``instance_ids`` are all that the Config Service lists where none are given. At most ``rate``
    calls a second begin (``None``: no limit), ``concurrency`` at a time. After each ``chunk`` of
    instances the task makes room for others, and goes on under the same id; ``so_far`` is what it
    has done by then.

    The result is ``{"done": 2, "failed": 1, "failures": [...]}``, with the first hundred failures.
    Raises ``ValueError`` for a number that is out of range.
    """
    options = {"rate": rate, "chunk": chunk, "concurrency": concurrency, "so_far": so_far}
    return _work(self, instance_ids, options, only_stale=False)


@shared_task(name="instance_lookup.refresh_instances", **_OPTIONS)  # type: ignore[untyped-decorator]
def refresh_instances(
    self: Any,
    instance_ids: Sequence[str] | None = None,
    *,
    rate: float | None = 10.0,
    chunk: int = 100,
    concurrency: int = 8,
    so_far: dict[str, Any] | None = None,
) -> Any:
    """Fetch and store the configurations of those instances whose copy in the cache is stale.

    Takes, returns and raises what ``warm_instances`` does; those whose copy is fresh, or absent,
    count as ``"skipped"``. For beat: it costs the Config Service what is used, and no more.
    """
    options = {"rate": rate, "chunk": chunk, "concurrency": concurrency, "so_far": so_far}
    return _work(self, instance_ids, options, only_stale=True)


def _work(
    task: Any, instance_ids: Sequence[str] | None, options: dict[str, Any], *, only_stale: bool
) -> Any:
    can_go_on = not task.request.is_eager  # else it goes on under its id
    report, later = warm_chunk(instance_ids, only_stale=only_stale, can_go_on=can_go_on, **options)
    return task.replace(task.si(later, **options | {"so_far": report})) if later else report
