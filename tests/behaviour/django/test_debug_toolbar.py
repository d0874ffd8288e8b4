"""The panel of django-debug-toolbar explains the request's lookup, without a secret."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpResponse
from django.test import RequestFactory

from instance_lookup import InstanceLookupError
from instance_lookup.contrib.debug_toolbar import InstanceLookupPanel
from instance_lookup.request.attributes import attach
from tests.support.documents import ROOT
from tests.support.doors import CALLERS, OLGA, SAM
from tests.support.lookups import SECRET


class Toolbar:
    """What a panel needs of the toolbar."""

    request_id = "r"

    def __init__(self) -> None:
        self.stats: dict[str, Any] = {}
        self.store = self

    def save_panel(self, *args: object) -> None:
        """Keep what JSON takes, as the toolbar's own store in a database."""
        json.dumps(self.stats)


def look(request: Any) -> HttpResponse:
    try:
        return HttpResponse(request.instance_config.instance_id)
    except InstanceLookupError as exc:
        return HttpResponse(status=exc.status_code)


async def alook(request: Any) -> HttpResponse:
    try:
        return HttpResponse((await request.ainstance_config()).instance_id)
    except InstanceLookupError as exc:
        return HttpResponse(status=exc.status_code)


def shown(request: Any, *, is_async: bool) -> InstanceLookupPanel:
    """Return the panel that has seen the request."""
    view: Any = alook if is_async else look
    panel = InstanceLookupPanel(Toolbar(), view)
    response = panel.process_request(request)
    if is_async:

        async def waited() -> Any:
            return await response

        response = async_to_sync(waited)()
    panel.generate_stats(request, response)
    return panel


@pytest.mark.parametrize(
    ("user", "instance", "subtitle", "line"),
    [
        (OLGA, "acme", "200 cache", "IsOwner: yes: owner is &#x27;olga&#x27;"),
        (SAM, "acme", "403 ACCESS_DENIED", "IsOwner: no: owner is &#x27;olga&#x27;"),
        (OLGA, "unknown", "404 INSTANCE_NOT_FOUND", "Answer: 404"),
    ],
)
@pytest.mark.parametrize("is_async", CALLERS)
def test_panel(
    service: Any, user: Any, instance: str, *, subtitle: str, line: str, is_async: bool
) -> None:
    """The panel has the explanation of the request's lookup, and asks no service for it."""
    request: Any = RequestFactory().get("/", headers={"X-Instance-ID": instance})
    request.user = user
    attach(request)
    panel = shown(request, is_async=is_async)
    assert panel.nav_subtitle == subtitle
    assert line in panel.content
    assert len(service.calls) == 1
    assert SECRET not in panel.content


def test_panel_without_a_lookup(service: Any) -> None:
    """A request that has looked nothing up says so, and nothing is looked up for it."""
    panel = InstanceLookupPanel(Toolbar(), lambda request: HttpResponse())
    for request in (RequestFactory().get("/"), RequestFactory().get("/")):
        panel.process_request(request)
        panel.generate_stats(request, HttpResponse())
        assert "This request has looked no instance up." in panel.content
        attach(request)
    assert service.calls == []


def test_toolbar_of_a_site() -> None:
    """In a real toolbar the panel is drawn for sync and async views, over WSGI and ASGI."""
    module = [sys.executable, "-m", "tests.support.toolbar_site"]
    done = subprocess.run(module, cwd=ROOT, capture_output=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    for at, page in enumerate(found["pages"]):
        assert "Instance lookup" in page
        is_empty = at % 3 == 2
        assert ("This request has looked no instance up." in page) is is_empty
        assert ("IsOwner: yes: owner is" in page) is not is_empty
        assert ("Looked up in" in page) is not is_empty
        assert SECRET not in page
    assert len(found["calls"]) == 1
