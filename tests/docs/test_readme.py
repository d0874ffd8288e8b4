"""What holds for the README and each page: its code is run, and its links lead somewhere."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.documents import ALL, PAGES, TUTORIAL, Block, commands

README = PAGES["README.md"].read_text(encoding="utf-8")
ALLOWED = {"python", "console", "json", "html", "ini", "nginx", "text"}


@pytest.mark.parametrize("block", ALL, ids=str)
def test_block_is_run_or_says_why_not(block: Block) -> None:
    """No block is there for decoration: its language is known here, and it goes somewhere."""
    assert block.language in ALLOWED
    if block.language == "python":
        compile(block.text, str(block), "exec")
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "console":
        assert commands(block)
    elif block.language == "text":
        assert block.page in TUTORIAL
    else:
        assert block.file or not block.runs


def test_few_blocks_are_not_run() -> None:
    """At most four blocks of all pages are not run."""
    assert len([block for block in ALL if not block.runs]) <= 4


def test_two_commands_to_the_letter() -> None:
    """A newcomer on a bare machine starts the demo and the tests with these."""
    start = "python3 -m venv --without-pip .venv && python3 -m pip --python .venv install -q tox"
    lines = README.splitlines()
    assert f"    {start} && .venv/bin/tox run -e sandbox" in lines
    assert f"    {start} && .venv/bin/tox run-parallel" in lines


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """A link to another page or one of its headings does not dangle."""
    for target in re.findall(
        r"\]\(([^)#:]*(?:#[^)]*)?)\)", PAGES[page].read_text(encoding="utf-8")
    ):
        file, _, anchor = target.partition("#")
        path = PAGES[page].parent / file if file else PAGES[page]
        assert path.exists(), target
        text = path.read_text(encoding="utf-8") if path.suffix == ".md" else ""
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings}
        assert not anchor or anchor in slugs, target


def test_readme_is_read_in_one_go() -> None:
    """What is longer has a page of its own."""
    assert len(README.splitlines()) < 200
