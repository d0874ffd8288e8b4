"""docs/tutorial: a learner who pastes its blocks, one after another, sees what the pages show."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING

import pytest

from tests.support import lesson
from tests.support.documents import PAGES, TUTORIAL, blocks
from tests.support.lesson import Learner, is_shown
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INDEX = "tutorial/README.md"
PARTS = sorted(TUTORIAL.keys() - {INDEX})
TOOLS = ("sh", "curl")


@pytest.fixture
def learner(tmp_path: Path) -> Iterator[Learner]:
    """A learner in a new folder, who has installed the package."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.fail(f"The tutorial needs {', '.join(missing)}: install what is missing.")
    folder = tmp_path / "mysite"
    folder.mkdir()
    learner = Learner(folder)
    yield learner
    learner.leave()


def test_lesson_is_as_it_says(learner: Learner) -> None:
    """Each command works, in the order of the parts, and prints what the page shows."""
    for block in (block for part in PARTS for block in blocks(part) if block.runs):
        learner.follow(block)
    assert learner.saw("site").count(" gave no usable answer ") == 1, "once, not for each request"


def test_server_that_does_not_end(
    learner: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed, and the servers in other terminals are ended all the same."""
    monkeypatch.setattr(lesson, "TIMEOUT", 1.0)
    scripts = {"service": "exec sleep 60", "site": "trap '' TERM; echo deaf; exec sleep 60"}
    terminals = learner._terminals
    for name, script in scripts.items():
        terminals[name].start(script, tmp_path, os.environ)
    processes = [terminals[name]._process for name in scripts]
    wait_until(lambda: learner.saw("site") == "deaf\n")
    with pytest.raises(subprocess.TimeoutExpired):
        learner.leave()
    assert [process and process.returncode for process in processes] == [-SIGTERM, -SIGKILL]


@pytest.mark.parametrize(
    ("printed", "is_it"),
    [
        ("acme  fresh  1 min 5 s  279\nOK\n", True),
        ("acme  stale  20 s  279\nOK\n", False),
        ("acme  fresh  20 s  279\n", False),
        ("acme  fresh  20 s  279\nOK\nand more\n", False),
        ("acme  fresh  20 s  279\nany line\nand another\nOK\n", True),
    ],
)
def test_only_what_varies_may_differ(printed: str, is_it: bool) -> None:
    """Ages, and the lines that the page leaves out; nothing else."""
    assert is_shown("acme  fresh  20 s  279\n…\nOK\n", printed) is is_it


def test_index_and_parts_lead_on() -> None:
    """The index names the parts in their order, and each part leads to the next one."""
    text = {page: path.read_text(encoding="utf-8") for page, path in TUTORIAL.items()}
    listed = re.findall(r"^\d\. \[.+?\]\((.+?)\)", text[INDEX], re.MULTILINE)
    assert [f"tutorial/{name}" for name in listed] == PARTS
    for part, following in zip(PARTS, listed[1:], strict=False):
        assert f"Go on with [part {following[0]}]({following})." in text[part]


def test_part_is_titled_by_its_place() -> None:
    """The number in the title is that of the file."""
    for part in PARTS:
        number = part.removeprefix("tutorial/")[0]
        assert PAGES[part].read_text(encoding="utf-8").startswith(f"# {number}. ")
