"""The README's site, and what the pages on views, DRF and jobs add to it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command

from tests.support.clients import log_in
from tests.support.documents import ADDED, Site, blocks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.django_db

HEADER = {"x-instance-id": "acme"}
uses_extras = pytest.mark.extras  # DRF, django-redis


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Site]:
    """Return the README's site, with what these pages add to it."""
    return lambda *pages: Site(
        tmp_path, [block for page in ("README.md", *pages) for block in blocks(page)]
    )


def test_site_of_the_readme(build: Callable[..., Site]) -> None:
    """The README makes a view that answers its owner only, and needs no extra."""
    with build().running():
        call_command("check")
        owner = log_in(pk=1)
        assert owner.get("/where/", headers=HEADER).json() == {"instance": "acme", "beta": True}
        assert owner.get("/where/", headers={"x-project-id": "website"}).json()["beta"]
        assert owner.get("/where/").status_code == 400
        assert owner.get("/where/", headers={"x-instance-id": "acme,acme"}).status_code == 400
        assert owner.get("/where/", headers={"x-instance-id": "other"}).status_code == 404
        assert log_in("sam").get("/where/", headers=HEADER).status_code == 403


@uses_extras
@pytest.mark.parametrize("page", ADDED)
def test_page_goes_on_with_the_readme(page: str, build: Callable[..., Site]) -> None:
    """Each page says that it needs the README's site, and needs no other page."""
    with build(page).running():
        call_command("check")
        assert log_in(pk=1).get("/where/", headers=HEADER).status_code == 200


def test_views(build: Callable[..., Site]) -> None:
    """Each kind of view answers its owner, and a stranger nothing."""
    with build("views.md").running():
        owner, stranger = log_in(pk=1), log_in("sam")
        for url in ("/where/", "/where-async/", "/billing/", "/dashboard/"):
            header = HEADER | {"accept": "text/html"}
            assert owner.get(url, headers=header).status_code == 200, url
            assert stranger.get(url, headers=header).status_code == 403, url
        page = owner.get("/billing/", headers=HEADER).text
        assert "<h1>Acme</h1>" in page
        assert "beta" in page


@uses_extras
def test_drf(build: Callable[..., Site]) -> None:
    """The owner works with the API, and a stranger gets a problem document."""
    with build("drf.md").running():
        # Else its browsable pages lack their templates.
        assert "rest_framework" in import_module("mysite.settings").INSTALLED_APPS
        owner, stranger = log_in(pk=1), log_in("sam")
        assert owner.post("/jobs/", headers=HEADER).json()["rpm"] == 60
        refused = stranger.post("/jobs/", headers=HEADER)
        assert (refused.status_code, refused.json()["status"]) == (403, 403)


def test_outside_requests(build: Callable[..., Site]) -> None:
    """A job has the instance that it names."""
    with build("outside-requests.md").running():
        assert import_module("mysite.tasks").render("acme").startswith("https://render")
