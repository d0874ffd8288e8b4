"""docs/how-to/tasks.md: its blocks make a site whose tasks work in their publisher's instance."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.http import JsonResponse
from django.test import Client
from django.urls import path

from instance_lookup import AccessDenied, InstanceRequired, get_resolver, use_instance
from tests.support.celery_site import worker_in_a_thread
from tests.support.documents import Site, blocks, section

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.extras, pytest.mark.django_db(transaction=True)]

HEADER = {"x-instance-id": "acme"}
IN_MEMORY = {
    "broker_url": "memory://",
    "result_backend": "cache+memory://",
    "broker_transport_options": {"polling_interval": 0.005},
    "broker_connection_retry_on_startup": True,
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The README's site with the blocks about blocks."""
    site = Site(tmp_path, [*blocks("README.md"), *section("tasks.md", "use_instance")])
    with site.running():
        yield site


@pytest.fixture
def celery_site(tmp_path: Path) -> Iterator[Any]:
    """The README's site with the blocks about Celery, and a worker; gives its Celery app."""
    ours = [part for name in ("use_instance", "Celery") for part in section("tasks.md", name)]
    site = Site(tmp_path, [*blocks("README.md"), *ours])
    with site.running():
        app = import_module("mysite").celery_app
        app.conf.update(IN_MEMORY)
        app.loader.import_default_modules()
        with worker_in_a_thread(app):
            yield app
        app.close()


def test_use_instance(site: Site) -> None:
    exports = import_module("mysite.exports")
    olga, sam = (User.objects.create_user(name, pk=pk) for name, pk in [("olga", 1), ("sam", 2)])
    exported = exports.export_for(olga, "acme")
    assert exported.endswith(" key(s)")
    with pytest.raises(AccessDenied):
        exports.export_for(sam, "acme")
    assert async_to_sync(exports.nightly_export)("acme") == exported
    with pytest.raises(InstanceRequired):
        exports.export_orders()


def test_celery(celery_site: Any) -> None:
    """A view publishes, and a worker exports, for the user who asked; and the cache is warmed."""
    tasks, urls = import_module("mysite.tasks"), import_module("mysite.urls")

    def start(request: Any) -> JsonResponse:
        return JsonResponse({"id": tasks.export.delay().id})

    urls.urlpatterns.append(path("export/", start))
    olga, sam = (User.objects.create_user(name, pk=pk) for name, pk in [("olga", 1), ("sam", 2)])
    client = Client()
    client.force_login(olga)
    task_id = client.get("/export/", headers=HEADER).json()["id"]
    assert celery_site.AsyncResult(task_id).get(timeout=20, interval=0.01).endswith(" key(s)")
    client.force_login(sam)
    assert client.get("/export/", headers=HEADER).status_code == 403
    with use_instance("acme", user=olga):
        refused = tasks.rotate_keys.delay()
    with pytest.raises(AccessDenied):
        refused.get(timeout=20, interval=0.01)
    with use_instance("acme", user=User.objects.create_superuser("ada")):
        assert tasks.rotate_keys.delay().get(timeout=20, interval=0.01)
    with pytest.raises(InstanceRequired):
        tasks.export.delay().get(timeout=20, interval=0.01)
    warming = import_module("mysite.warming")
    for publish in (warming.after_deploy, warming.after_flush):
        report = publish().get(timeout=20, interval=0.01)
        assert (report["done"], report["failed"]) == (1, 0)
    assert get_resolver().cache.has("acme")
    [beat] = warming.BEAT_SCHEDULE.values()
    assert celery_site.send_task(beat["task"]).get(timeout=20, interval=0.01)["skipped"] == 1
