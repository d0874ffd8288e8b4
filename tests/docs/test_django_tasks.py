"""docs/how-to/tasks.md, about Django Tasks: its tasks run in the instance that enqueued them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import path

from instance_lookup import use_instance
from instance_lookup.contrib.django_tasks import CARRIED
from tests.support.documents import PAGES, Site, blocks, section
from tests.support.task_site import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = "tasks.md"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path, [*blocks("README.md"), *section(PAGE, "Django Tasks")])
    for name in ("mysite/exporting.py", "mysite/mails.py"):
        site.replace(name, {"from django.tasks import": f"from {PACKAGE} import"})
    return site


@pytest.fixture
def ended() -> Iterator[list[Any]]:
    """The results of the tasks that have ended."""
    results: list[Any] = []

    def note(task_result: Any, **kwargs: object) -> None:
        results.append(task_result)

    finished = import_module(f"{PACKAGE}.signals").task_finished
    finished.connect(note)
    yield results
    finished.disconnect(note)


@pytest.mark.django_db(transaction=True)
def test_site_of_the_page(site: Site, ended: list[Any]) -> None:
    """Views enqueue, policies count, and a task that was installed carries where it can."""
    with site.running():
        call_command("check")
        names = ("exporting", "urls", "mails")
        tasks, urls, mails = (vars(import_module(f"mysite.{name}")) for name in names)
        urls["urlpatterns"] += [
            path("export/", tasks["start_export"]),
            path("rotate/", tasks["start_rotation"]),
        ]
        owner, user = Client(), User.objects.create_user("olga", pk=1)
        owner.force_login(user)
        headers = {"x-instance-id": "acme"}
        for name in ("export", "rotate"):
            answer = owner.get(f"/{name}/", headers=headers)
            assert answer.json() == {"task": ended[-1].id}
        assert owner.get("/export/").status_code == 400
        plain = mails["send_report"].enqueue("a@example.com")
        with use_instance("acme", user=user):
            inside = mails["send_report"].enqueue("a@example.com")
        warming = vars(import_module("mysite.warming_later"))
        warmed, refreshed = (warming[name]().return_value for name in ("after_deploy", "refresh"))
    assert (warmed["done"], refreshed["skipped"]) == (1, 1)
    exported, rotated = ended[:2]
    assert exported.return_value == "Acme: 2026-05"
    assert CARRIED in exported.kwargs
    assert f"`{CARRIED}`" in PAGES[PAGE].read_text(encoding="utf-8")
    assert rotated.errors[0].exception_class_path == "instance_lookup.exceptions.AccessDenied"
    assert [CARRIED in result.kwargs for result in (plain, inside)] == [False, True]
    assert [plain.return_value, inside.return_value] == [
        "a@example.com: no instance",
        "a@example.com: acme",
    ]
