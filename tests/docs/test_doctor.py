"""docs/operations/doctor.md: its commands work, and it knows every probe."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup.operations.doctor.findings import Level
from tests.behaviour.commands.support import run
from tests.behaviour.operations.doctor.conftest import service, shared
from tests.behaviour.operations.doctor.support import examined
from tests.support.documents import ROOT

if TYPE_CHECKING:
    from tests.behaviour.operations.doctor.support import Service

__all__ = ["service", "shared"]

PAGE = (ROOT / "docs" / "operations" / "doctor.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    \$ python manage\.py (check_config_service.*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_page(command: str, service: Service) -> None:
    """Each command line that is shown works with a service that is right."""
    name, *arguments = shlex.split(command)
    assert run(name, *arguments).code == 0


def test_page_has_each_probe(service: Service) -> None:
    """The table has each probe, in the order of the lines, and no other one."""
    rows = re.findall(r"^\| (`.+?`) \| ", PAGE.partition("| Probe |")[2], re.MULTILINE)
    names = [name for row in rows for name in re.findall("`(.+?)`", row)]
    assert sorted(names) == sorted(examined())


def test_sample_has_each_probe_in_its_order(service: Service) -> None:
    """The sample shows each line that there is, as the command prints them."""
    levels = "|".join(Level)
    shown = re.findall(rf"^    (?:{levels}) +(\w.{{15}}) ", PAGE, re.MULTILINE)
    assert [name.strip() for name in shown] == list(examined())


def test_script_of_the_page(service: Service) -> None:
    """The lines of Python find what the command finds."""
    (script,) = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(script, names)
    assert names["exit_code"](names["findings"]) == 0


def test_links_of_the_page() -> None:
    """A link of the page leads to a heading that is there."""
    for file, anchor in re.findall(r"\]\(([^)#]*)#([^)]+)\)", PAGE):
        page = ROOT / "docs" / "operations" / (file or "doctor.md")
        headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings}
        assert anchor in slugs
