"""The pages of the documentation, and the site that their code blocks make up."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.db.models import signals as model_signals
from django.test import override_settings

from instance_lookup import signals
from tests.support.receivers import receivers_forgotten
from tests.support.servers import Answer, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROOT = Path(__file__).parents[2]
STARTS = "In your own project"
"""The section whose commands make a site and serve it; test_readme_start.py runs them."""
_DOCS = ROOT / "docs"
RECIPES = {
    f"recipes/{path.name}": path for path in sorted((_DOCS / "how-to" / "recipes").glob("*.md"))
}
"""Pages with a site of their own each; tests/integrations runs them."""
TUTORIAL = {f"tutorial/{path.name}": path for path in sorted((_DOCS / "tutorial").glob("*.md"))}
"""Pages that make one story; test_tutorial.py tells it."""
_KINDS = ("how-to", "reference", "explanation")
_PATHS = sorted(itertools.chain(*((_DOCS / kind).glob("*.md") for kind in _KINDS)))
PAGES = {
    "README.md": ROOT / "README.md",
    **{path.name: path for path in _PATHS if path.name != "README.md"},
    **{f"{path.parent.name}/README.md": path for path in _PATHS if path.name == "README.md"},
    **RECIPES,
    **TUTORIAL,
}

_COMMENT = re.compile(r"<!-- (file|not run|terminal): (.+) -->")
_SETTINGS = (
    *("BASE_DIR", "CACHES", "INSTALLED_APPS", "INSTANCE_LOOKUP"),
    *("MIDDLEWARE", "REST_FRAMEWORK", "ROOT_URLCONF", "TEMPLATES"),
)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: str
    line: int
    section: str
    """The nearest ``##`` heading above it."""
    language: str
    text: str
    comment: Mapping[str, str]
    """The HTML comment above it: its ``file``, ``terminal``, or why it is ``not run``."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file of the site that it goes into; Python blocks name it in their first line."""
        named = re.match(r"# (\S+\.py)\n", self.text) if self.language == "python" else None
        return named[1] if named else self.comment.get("file")

    @property
    def runs(self) -> bool:
        return "not run" not in self.comment


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    found = []
    section = comment = fence = ""
    start, lines = 0, PAGES[page].read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            if fence:
                text = "".join(lines[start : number - 1])
                about = {match[1]: match[2] for match in _COMMENT.finditer(comment)}
                found.append(Block(page, start, section, fence.strip("`\n"), text, about))
                fence = comment = ""
            else:
                start, fence = number, line
        elif not fence:
            section = line[3:].strip() if line.startswith("## ") else section
            comment = line
    return found


ALL = [block for page in PAGES for block in blocks(page)]

ADDED = ("views.md", "drf.md", "outside-requests.md", "production.md", "changes.md")
"""Pages that go on with the README's site, each by itself or all in this order."""
SITE = [block for page in ("README.md", *ADDED) for block in blocks(page)]
"""The site of all of them. Pages that go on with the README alone are tested without ``ADDED``."""

ACME: dict[str, Any] = json.loads(
    next(block.text for block in ALL if block.file == "instances.json")
)["instances"][0]


def section(page: str, name: str) -> list[Block]:
    """Return the blocks of a section, of which there must be some."""
    found = [block for block in blocks(page) if block.section == name]
    assert found, f"{page} has no blocks under {name!r}"
    return found


def table(page: str, first_head: str) -> list[list[str]]:
    """Return the rows of a table without its head."""
    lines = PAGES[page].read_text(encoding="utf-8").partition(f"| {first_head} |")[2].splitlines()
    rows = list(itertools.takewhile(lambda line: line.startswith("|"), lines[2:]))
    assert rows, f"{page} has no table that begins with {first_head!r}"
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def config_service() -> ScriptedServer:
    """Return a Config Service that answers what the README's file says."""
    return ScriptedServer(
        {
            "/instances/acme": Answer(200, json.dumps(ACME).encode(), {"ETag": '"1"'}),
            "/projects/website": Answer(200, b'{"project_id": "website", "instance_id": "acme"}'),
            "/instances": Answer(200, b'{"instances": ["acme"]}'),
        }
    )


class Site:
    """A project from ``startproject``, with the blocks of the pages in their order."""

    def __init__(self, directory: Path, parts: Iterable[Block]) -> None:
        self.directory = directory
        call_command("startproject", "mysite", str(directory))
        written = {"mysite/settings.py", "mysite/urls.py"}
        for block in parts:
            if block.file and block.runs:
                path = directory / block.file
                path.parent.mkdir(exist_ok=True)
                with path.open("a" if block.file in written else "w", encoding="utf-8") as file:
                    file.write(f"\n{block.text}")
                written.add(block.file)

    def replace(self, file: str, replacements: Mapping[str, object]) -> None:
        """Put into ``file`` what is another one on this machine."""
        path = self.directory / file
        text = path.read_text(encoding="utf-8")
        for old, new in replacements.items():
            assert old in text
            text = text.replace(old, str(new))
        path.write_text(text, encoding="utf-8")

    @contextmanager
    def running(self, settings: str = "mysite.settings") -> Iterator[None]:
        """Have this process be the site."""
        with ExitStack() as stack:
            stack.callback(self._forget)
            stack.enter_context(receivers_forgotten(signals, model_signals))
            sys.path.insert(0, str(self.directory))
            importlib.invalidate_caches()
            module = vars(importlib.import_module(settings))
            assert "instance_lookup" in module["INSTALLED_APPS"]
            chosen: dict[str, Any] = {name: module[name] for name in _SETTINGS if name in module}
            stack.enter_context(override_settings(**chosen))
            yield

    def _forget(self) -> None:
        sys.path.remove(str(self.directory))
        for name in [name for name in sys.modules if name.partition(".")[0] == "mysite"]:
            del sys.modules[name]


def commands(block: Block) -> list[tuple[list[str], str]]:
    """Return the words of each ``$`` line, and what it is said to print."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    return [(shlex.split(line), shown) for line, _, shown in (p.partition("\n") for p in parts)]


def passed(site: Site) -> int:
    """Run the site's own tests, and return how many passed; all must."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", "test"],
        cwd=site.directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "mysite.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(re.findall(r"^Ran ([0-9]+) tests?", done.stderr, re.MULTILINE)[0])
