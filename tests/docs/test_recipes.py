"""docs/recipes: each page is in the index, and a test makes a site of all that it shows."""

from __future__ import annotations

import re

import pytest

from tests.support.documents import PAGES, RECIPES, ROOT, blocks

INDEX = "recipes/README.md"
BUILT = {
    name
    for path in (ROOT / "tests" / "integrations").glob("test_recipe_*.py")
    for name in re.findall(r'build\(\s*"([\w-]+)"', path.read_text(encoding="utf-8"))
}


def test_index_leads_to_every_recipe() -> None:
    """A page that is not in the index would not be found."""
    links = set(re.findall(r"\]\(([\w-]+\.md)\)", PAGES[INDEX].read_text(encoding="utf-8")))
    assert {f"recipes/{link}" for link in links} == RECIPES.keys() - {INDEX}


@pytest.mark.parametrize("page", sorted(RECIPES.keys() - {INDEX}))
def test_recipe_is_run(page: str) -> None:
    """A test of tests/integrations builds its site, and no block is left out of that."""
    assert page.removeprefix("recipes/").removesuffix(".md") in BUILT
    assert blocks(page)
    assert [str(block) for block in blocks(page) if not (block.file and block.runs)] == []
