"""Warming and refreshing as Django Tasks: all of it, in chunks, each a task of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import get_resolver
from instance_lookup.contrib.django_tasks.tasks import refresh_instances, warm_instances
from tests.support import task_site as site
from tests.support.doors import OLGA, owned_by

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService

IDS = ["a", "b", "c", "d", "e"]


@pytest.fixture(autouse=True)
def _site(settings: Any, service: DictConfigService) -> None:
    settings.TASKS = {"default": site.backend("immediate"), "later": site.backend("dummy")}
    service.instances.clear()
    for instance_id in IDS:
        service.instances[instance_id] = owned_by(OLGA, instance_id=instance_id)


def cached() -> list[str]:
    cache = get_resolver().cache
    return [instance_id for instance_id in IDS if cache.has(instance_id)]


def test_instances_that_are_named() -> None:
    report = warm_instances.enqueue(["b", "nobody's", "a", "b"], rate=None).return_value
    assert cached() == ["a", "b"]
    assert (report["done"], report["failed"], report["next"]) == (2, 1, None)
    [failure] = report["failures"]
    assert (failure["instance_id"], failure["error"]) == ("nobody's", "INVALID_CONTEXT")


def test_backend_that_runs_at_once_does_all_in_one() -> None:
    report = warm_instances.enqueue(rate=None, chunk=2).return_value
    assert (report["done"], report["next"], cached()) == (5, None, IDS)


def test_chunks_make_room_for_others() -> None:
    """Each goes on with the queue's own options, and the last one knows of all."""
    queue: Any = site.task_backends["later"]
    first = warm_instances.using(backend="later", priority=3).enqueue(rate=None, chunk=2)
    reports, following = [], first.id
    while following:
        result = queue.get_result(following)
        assert result.task.priority == 3
        context = site.TaskContext(task_result=result)
        report = result.task.call(context, *result.args, **result.kwargs)
        reports.append((report["done"], len(cached())))
        following = report["next"]
    assert reports == [(2, 2), (4, 4), (5, 5)]


def test_refresh_fetches_what_is_stale() -> None:
    warm_instances.enqueue(["a", "b"], rate=None)
    get_resolver().cache.expire("b")
    report = refresh_instances.enqueue(rate=None).return_value
    assert (report["done"], report["skipped"], cached()) == (1, 4, ["a", "b"])


@pytest.mark.parametrize("option", [{"chunk": 0}, {"rate": 0.0}, {"concurrency": 0}])
def test_numbers_out_of_range(option: dict[str, Any]) -> None:
    (error,) = warm_instances.enqueue(IDS, **option).errors
    assert error.exception_class is ValueError
    assert f"{next(iter(option))} must be" in error.traceback
