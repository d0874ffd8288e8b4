"""The pages as their reader finds them: on GitHub, and in the site that Sphinx makes of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.documents import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DOCS = ROOT / "docs"
INCLUDES = {DOCS / "changelog.md", DOCS / "security-policy.md"}
"""Each holds a file from outside of the folder."""
PAGES = sorted(set(DOCS.rglob("*.md")) - INCLUDES)
OUTSIDE = sorted({*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/README.md")} - set(PAGES))
"""Pages that only GitHub shows: Sphinx does not look at their links."""
FENCED = re.compile(r"^(```+).*?^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
SENTENCE = re.compile(r"[A-Z`\[*“\"].*[.?:]", re.DOTALL)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text(path: Path) -> str:
    """Return the page without its blocks of code and comments."""
    shown = FENCED.sub("", path.read_text(encoding="utf-8"))
    return re.sub(r"<!--.*?-->", "", shown, flags=re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Return the names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text(path), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page_begins_with_its_title_and_a_sentence(page: Path) -> None:
    """A reader who comes from a search engine sees what the page is for."""
    title, *others = [part.strip() for part in text(page).split("\n\n") if part.strip()]
    assert title.startswith("# ")
    assert SENTENCE.fullmatch(others[0])
    assert not [each for each in others if each.startswith("# ")]


@pytest.mark.parametrize("page", sorted(set(PAGES) - {DOCS / "index.md"}), ids=name)
def test_page_is_named_by_the_first_page_of_its_folder(page: Path) -> None:
    """Readers find each page by the way down from ``docs/index.md``, and see when to read it."""
    folder = page.parent.parent if page.name == "README.md" else page.parent
    first = folder / ("index.md" if folder == DOCS else "README.md")
    assert page in {(folder / target).resolve() for target, _ in LINK.findall(text(first))}


@pytest.mark.parametrize("page", OUTSIDE, ids=name)
def test_links_of_a_page_that_only_github_shows(page: Path) -> None:
    """Each link to a file or a heading of the repository leads to one that is there."""
    wrong = []
    for target, anchor in LINK.findall(text(page)):
        path = (page.parent / target).resolve() if target else page
        is_ours = not re.match(r"[a-z]+:", target)
        if is_ours and not (path.exists() and (not anchor or anchor in anchors(path))):
            wrong.append(f"{target}#{anchor}")
    assert wrong == []
