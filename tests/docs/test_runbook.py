"""docs/operations/runbook.md: its commands run, in an outage too; its metrics and lines exist."""

from __future__ import annotations

import ast
import re
import shlex
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from django.contrib.auth.models import User
from django.core.cache.backends.locmem import LocMemCache

import instance_lookup
from instance_lookup import get_resolver
from tests.behaviour.commands.support import SECRET, TOKEN, run
from tests.support.documents import ROOT, config_service
from tests.support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_django.fixtures import Settings

    from tests.support.servers import ScriptedServer

pytestmark = pytest.mark.django_db

PAGES = ROOT / "docs" / "operations"
PAGE = (PAGES / "runbook.md").read_text(encoding="utf-8")
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if re.match(r"\| \d\. ", line)]
COMMANDS = [*dict.fromkeys(re.findall(r"python manage\.py ([^`\n]+)", PAGE))]
WATCHING = "instance_lookup.management.commands.inspect_instance_cache"
HAS_ANOTHER_1 = "check_config_service"
"""Its 1 means that there is something to correct; that of the others, a mistake of usage."""


class DownCache(LocMemCache):
    """Fails, whatever it is asked."""

    def _down(self, *args: object, **kwargs: object) -> Any:
        raise OSError(SECRET)

    get = set = add = touch = delete = get_many = set_many = delete_many = _down
    clear = Mock()  # after each test


@pytest.fixture
def site(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A site with a service that knows acme, a user bob, and a watch that ends at once."""
    monkeypatch.setattr(f"{WATCHING}.sleep", Mock(side_effect=KeyboardInterrupt))
    User.objects.create_user("bob", pk=7)
    with config_service() as server:
        settings.INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": server.url, "CONFIG_SERVICE_TOKEN": TOKEN}
        yield server


def code_of(given: str) -> int:
    """Run a command of the page; fail if it shows a secret or a bug; return its code."""
    name, *arguments = shlex.split(given)
    done = run(name, *arguments)
    shown = done.out + done.err
    assert shown
    assert [text for text in (SECRET, TOKEN, "Traceback", "TypeError") if text in shown] == []
    return done.code


def test_page_answers_its_second_question(site: ScriptedServer) -> None:
    """Why bob is refused: the first command tells the rule, and what it compared."""
    get_resolver().refresh("acme")
    name, *arguments = shlex.split(COMMANDS[0])
    assert "IsOwner: no: owner is '1', user is '7'" in run(name, *arguments).out


@pytest.mark.parametrize("given", COMMANDS)
def test_command_works(given: str, site: ScriptedServer) -> None:
    """Each command line of the page is one that the command takes."""
    get_resolver().refresh("acme")
    assert code_of(given) != 1 or given == HAS_ANOTHER_1


@pytest.mark.parametrize("is_service_up", [True, False])
@pytest.mark.parametrize("is_cache_up", [True, False])
def test_commands_work_in_an_outage(
    settings: Settings, site: ScriptedServer, is_cache_up: bool, is_service_up: bool
) -> None:
    """With the service down, the cache down, or both, each says so, without a traceback."""
    get_resolver().refresh("acme")
    if not is_service_up:
        url = f"http://127.0.0.1:{free_port()}"
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONFIG_SERVICE_URL": url}
    if not is_cache_up:
        settings.CACHES = {"default": {"BACKEND": f"{__name__}.DownCache"}}
    for given in COMMANDS:
        assert code_of(given) != 1 or given == HAS_ANOTHER_1, given


def test_each_question_has_its_row() -> None:
    """Six questions, each with a page, a command that is run above, a metric and a log line."""
    assert len(ROWS) == 6
    for row in ROWS:
        assert len(row) == 5
        assert "`python manage.py " in row[2]


def test_pages_exist() -> None:
    """What the table names of the admin's pages stands there."""
    root = ROOT / "instance_lookup" / "contrib" / "admin"
    files = [*root.rglob("*.py"), *root.rglob("*.html")]
    shown = "\n".join(path.read_text(encoding="utf-8") for path in files)
    named = [name for row in ROWS for name in re.findall(r"\*(.+?)\*", row[1])]
    assert len(named) >= 6
    assert [name for name in named if name not in shown] == []


def test_metrics_exist() -> None:
    """The metrics of the table are those of the reference."""
    metrics = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    named = [name for row in ROWS for name in re.findall(r"`(instance_lookup_\w+)`", row[3])]
    assert len(named) >= 6
    assert [name for name in named if f"* [`{name}`](" not in metrics] == []


def test_log_lines_exist() -> None:
    """The log lines of the table are in the code, word by word."""
    root: Path = ROOT / "instance_lookup"
    assert instance_lookup.__file__ == str(root / "__init__.py")
    texts = [
        node.value
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    named = [line for row in ROWS for line in re.findall(r"`([A-Za-z ]+)`", row[4])]
    assert len(named) >= 5
    assert [line for line in named if not any(line in text for text in texts)] == []


def test_links_lead_somewhere() -> None:
    """A link to another page or heading does not dangle."""
    for file, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", PAGE):
        path = PAGES / (file or "runbook.md")
        assert path.exists(), file
        headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings}
        assert not anchor or anchor in slugs, anchor
