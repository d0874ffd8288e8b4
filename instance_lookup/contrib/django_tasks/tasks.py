"""Warming and refreshing the cache as Django Tasks, a chunk at a time and at a steady rate."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from instance_lookup.jobs.warming import warm_chunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.tasks import TaskContext, task
else:
    # Django's own where it has them. The backport need not be there then.
    task = import_module("django.tasks" if find_spec("django.tasks") else "django_tasks").task


@task(takes_context=True)
def warm_instances(
    context: TaskContext[Any, Any],
    instance_ids: Sequence[str] | None = None,
    *,
    rate: float | None = 10.0,
    chunk: int = 100,
    concurrency: int = 8,
    so_far: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Fetch the configurations of instances for the site itself, and store them in the cache.

    ``instance_ids`` are all that the Config Service lists where none are given. At most ``rate``
    calls a second begin (``None``: no limit), ``concurrency`` at a time. After each ``chunk`` of
    instances the others are enqueued as a task of their own, so that other tasks get their turn;
    ``so_far`` is what was done by then.

    The result is ``{"done": 2, "failed": 1, "failures": [...], "next": None}``: counts of all
    chunks so far, the first hundred failures, and the id of the task that goes on. Raises
    ``ValueError`` for a number that is out of range, and ``ConfigServiceUnavailable`` where there
    is no list.
    """
    options = {"rate": rate, "chunk": chunk, "concurrency": concurrency, "so_far": so_far}
    return _work(context, instance_ids, options, only_stale=False)


@task(takes_context=True)
def refresh_instances(
    context: TaskContext[Any, Any],
    instance_ids: Sequence[str] | None = None,
    *,
    rate: float | None = 10.0,
    chunk: int = 100,
    concurrency: int = 8,
    so_far: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Fetch and store the configurations of those instances whose copy in the cache is stale.

    Takes, returns and raises what ``warm_instances`` does; those whose copy is fresh, or absent,
    count as ``"skipped"``.
    """
    options = {"rate": rate, "chunk": chunk, "concurrency": concurrency, "so_far": so_far}
    return _work(context, instance_ids, options, only_stale=True)


def _work(
    context: TaskContext[Any, Any],
    instance_ids: Sequence[str] | None,
    options: dict[str, Any],
    *,
    only_stale: bool,
) -> dict[str, Any]:
    this = context.task_result.task
    # A backend that runs tasks at once would run the chunks inside each other.
    can_go_on = this.get_backend().supports_defer
    report, later = warm_chunk(instance_ids, only_stale=only_stale, can_go_on=can_go_on, **options)
    following = this.enqueue(later, **options | {"so_far": report}).id if later else None
    return {**report, "next": following}
