from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import get_resolver
from instance_lookup.management.status_text import lines_of
from instance_lookup.operations.reports import Processes, Runway, read_reports
from instance_lookup.operations.status import get_status
from tests.support.documents import ROOT
from tests.support.lookups import Service

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

TEXT = (ROOT / "docs" / "operations" / "status.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def site(settings: Settings) -> None:
    settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_BACKEND": Service()}


def shape(value: Any) -> Any:
    """Return the names in an object, however deep."""
    return {name: shape(each) for name, each in value.items()} if isinstance(value, dict) else 0


def test_json_of_the_health_endpoint() -> None:
    """The object has the names of the real one."""
    (shown,) = blocks("json")
    resolver = get_resolver()
    status = get_status(resolver, read_reports(resolver))
    assert shape(json.loads(shown)) == shape(status.as_dict(public=True))


@pytest.mark.extras
def test_urls() -> None:
    """The URLconfs can be imported."""
    first, second = blocks("python")
    for block in (first, second):
        namespace: dict[str, Any] = {}
        exec(block, namespace)
        assert len(namespace["urlpatterns"]) == 1


def test_lines_of_the_command() -> None:
    """The lines have the names of the real ones, in their order."""
    from msgspec.structs import replace

    (shown,) = blocks("console")
    status = replace(
        get_status(), processes=Processes(8), runway=Runway(1, 1.0, 1.0, 1.0), calls_a_minute=1.0
    )

    def names(lines: list[str]) -> list[str]:
        return [line[:18].strip() for line in lines if re.match(r"[A-Z].{17}", line)]

    assert names(shown.splitlines()) == names([*lines_of(status)])


def test_links_lead_somewhere() -> None:
    """A link to a heading of the page does not dangle."""
    slugs = {name.lower().replace(" ", "-") for name in re.findall("^#+ (.+)$", TEXT, re.MULTILINE)}
    assert {*re.findall(r"\]\(#(.+?)\)", TEXT)} <= slugs
