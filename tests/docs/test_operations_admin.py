"""docs/operations/admin.md: its settings work, and it knows every state, button and permission."""

from __future__ import annotations

import itertools
import re
from typing import Any

from django.apps import apps

from instance_lookup.contrib.admin.actions import ACTIONS
from instance_lookup.contrib.admin.models import Instance
from instance_lookup.contrib.admin.rows import MARKS
from tests.support.documents import ROOT

OPERATIONS = ROOT / "docs" / "operations"
TEXT = (OPERATIONS / "admin.md").read_text(encoding="utf-8")


def rows(first_head: str) -> list[list[str]]:
    """Return the rows of the table whose head begins so."""
    lines = TEXT.partition(f"\n| {first_head} |")[2].splitlines()[2:]
    table = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def test_page_adds_the_app_that_is_there() -> None:
    """The apps of the example are there, and the setting is one."""
    settings: dict[str, Any] = {"INSTANCE_LOOKUP": {}}
    exec(TEXT.partition("```python\n")[2].partition("```")[0], settings)
    names = {each.name for each in apps.get_app_configs()}
    assert names.issuperset(settings["INSTALLED_APPS"])
    assert settings["INSTANCE_LOOKUP"] == {"REPORT_STATUS": True}


def test_page_names_each_permission() -> None:
    """The permissions of the table are those that the app has."""
    named = {row[0].strip("`") for row in rows("Permission")}
    label, name = Instance._meta.app_label, Instance._meta.model_name
    assert named == {f"{label}.{each}_{name}" for each in Instance._meta.default_permissions}


def test_page_names_each_state() -> None:
    """Signs and states of the table are those of the pages."""
    assert {(row[1], row[0]) for row in rows("Sign")} == set(MARKS.items())


def test_page_names_each_button() -> None:
    """Each action has a row, beside the one for everything."""
    named = {row[0] for row in rows("Button")}
    assert named == {*(each.label for each in ACTIONS.values()), "Purge all"}


def test_page_shows_pictures_that_are_there() -> None:
    """A run of the browser tests has written each picture."""
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", TEXT):
        assert (OPERATIONS / name).is_file()
