"""Warming and refreshing as tasks: all of it, in chunks, under one id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

from instance_lookup import ConfigServiceUnavailable, get_resolver
from instance_lookup.contrib.celery import install
from instance_lookup.contrib.celery.tasks import refresh_instances, warm_instances
from instance_lookup.jobs import warming
from tests.support.doors import OLGA, owned_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.backends.memory import DictConfigService

IDS = ["a", "b", "c", "d", "e"]


@pytest.fixture(autouse=True)
def _five_instances(service: DictConfigService) -> None:
    service.instances.clear()
    for instance_id in IDS:
        service.instances[instance_id] = owned_by(OLGA, instance_id=instance_id)


@pytest.fixture(autouse=True)
def app() -> Iterator[Any]:
    """The current app, which runs tasks eagerly."""
    app = Celery("warming", task_always_eager=True)
    install(app)
    yield app
    app.close()


def cached() -> list[str]:
    cache = get_resolver().cache
    return [instance_id for instance_id in IDS if cache.has(instance_id)]


def test_instances_that_are_named() -> None:
    report = warm_instances.delay(["b", "nobody's", "a", "b"], rate=None).get()
    assert cached() == ["a", "b"]
    assert (report["done"], report["failed"]) == (2, 1)
    [failure] = report["failures"]
    assert (failure["instance_id"], failure["error"]) == ("nobody's", "INVALID_CONTEXT")


def test_all_instances() -> None:
    assert warm_instances.delay(rate=None, chunk=2).get()["done"] == 5
    assert cached() == IDS


def test_refresh_fetches_what_is_stale(settings: Any) -> None:
    warm_instances.delay(["a", "b"], rate=None).get()
    get_resolver().cache.expire("b")
    report = refresh_instances.delay(rate=None).get()
    assert (report["done"], report["skipped"], cached()) == (1, 4, ["a", "b"])


def test_list_of_failures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "FAILURES_KEPT", 1)
    report = warm_instances.delay(["a,b", "c,d"], rate=None).get()
    assert (report["failed"], len(report["failures"])) == (2, 1)


@pytest.mark.parametrize("option", [{"chunk": 0}, {"rate": 0.0}, {"concurrency": 0}])
def test_numbers_out_of_range(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(option))} must be"):
        warm_instances.delay(IDS, **option).get()


def test_list_that_fails_is_asked_for_again(
    service: DictConfigService, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def fail(*args: Any) -> Any:
        tries.append(1)
        raise ConfigServiceUnavailable("down")

    monkeypatch.setattr(service, "list_instances", fail)
    with pytest.raises(ConfigServiceUnavailable):
        warm_instances.delay().get()
    assert len(tries) == 1 + warm_instances.max_retries
