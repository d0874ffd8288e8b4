"""docs/explanation/pictures: drawn from what the code does, and to be read by all."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.support.documents import ROOT, table

if TYPE_CHECKING:
    from pathlib import Path

EXPLANATION = ROOT / "docs" / "explanation"
PICTURES = sorted((EXPLANATION / "pictures").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


def test_pictures_are_what_the_code_does(tmp_path: Path) -> None:
    """Drawn again, each is the same: else ``python -m tests.pictures`` has to be run, or a bug."""
    draws = [sys.executable, "-W", "error", "-m", "tests.pictures", str(tmp_path)]
    subprocess.run(draws, cwd=ROOT, check=True, timeout=120)
    drawn = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_text(encoding="utf-8") for path in PICTURES}


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_picture_is_told_in_words(picture: Path) -> None:
    """Those who do not see it have a title, a description, and a text beside the page's link."""
    root = ET.parse(picture).getroot()
    named = {
        each.get("id"): each.text for each in root if each.tag in (f"{SVG}title", f"{SVG}desc")
    }
    assert (root.get("aria-labelledby") or "").split() == list(named)
    assert all(named.values())
    page = (EXPLANATION / f"{picture.stem}.md").read_text(encoding="utf-8")
    assert re.search(rf"!\[[^\]]{{20,}}\]\(pictures/{picture.name}\)", page)


def test_costs_on_the_page_are_those_of_the_picture_and_the_count() -> None:
    """Commands and calls are exact; functions, which each change of the code moves, by a tenth."""
    rows = table("request-path.md", "Answered by")
    picture = (EXPLANATION / "pictures" / "request-path.svg").read_text(encoding="utf-8")
    drawn = re.findall(r"(\d+) commands to the cache, (\d+) calls", picture)
    assert [(row[1], row[2]) for row in rows] == drawn
    counts = [sys.executable, "-m", "benchmarks.path", "--json"]
    done = subprocess.run(counts, cwd=ROOT, capture_output=True, check=True, timeout=60)
    counted = [each["calls"] for each in json.loads(done.stdout).values()]
    assert [int(row[3]) for row in rows] == [pytest.approx(each, rel=0.1) for each in counted]
