"""docs/operations/README.md: it leads to every page and names every part that exists."""

from __future__ import annotations

import logging
import re
import tomllib
from pkgutil import iter_modules

import pytest

from instance_lookup import contrib
from instance_lookup.logging import RequestFilter
from tests.support.documents import ROOT

PAGES = ROOT / "docs" / "operations"
INDEX = (PAGES / "README.md").read_text(encoding="utf-8")
ROWS = [line for line in INDEX.splitlines() if re.match(r"\| (?!Part|-)", line)]


def test_index_leads_to_every_page() -> None:
    """No page of the folder is left out, and no link leads nowhere."""
    files = set(re.findall(r"\]\(([^)#]+)", INDEX))
    assert {each.name for each in PAGES.iterdir() if each.suffix in {".md", ".json", ".yml"}} <= {
        *files,
        "README.md",
    }
    assert [name for name in files if not (PAGES / name).exists()] == []


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+#[^)]+)\)", INDEX))
def test_link_leads_to_a_heading(link: str) -> None:
    """Each link into a page names a heading that is there."""
    page, _, anchor = link.partition("#")
    headings = re.findall(r"^#+ (.*)$", (PAGES / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}


def test_index_has_every_extra() -> None:
    """Each integration has a row with its extra, by the name that pip takes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shown = {row.split("|")[-2].strip(" `") for row in ROWS} - {"–"}
    others = {"redis", "drf", "all"}
    assert shown == set(project["optional-dependencies"]) - others


def test_index_names_what_there_is() -> None:
    """Each dotted path of contrib is in the folder, and each part of the folder has a row."""
    parts = {each.name for each in iter_modules(contrib.__path__)}
    assert set(re.findall(r'"instance_lookup\.contrib\.(\w+)', INDEX)) == parts
    assert "`instance_lookup.logging.RequestFilter`" in INDEX
    assert isinstance(RequestFilter(), logging.Filter)
