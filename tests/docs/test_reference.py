"""The pages in docs/reference that tests/reference writes are as the code has them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from django.dispatch import Signal

import instance_lookup
from instance_lookup import AccessDenied, InstanceResolver, LookupContext, LookupUser, Source
from instance_lookup import signals as sending
from tests.reference import api, checks, commands, errors, signals
from tests.support.documents import ALL, PAGES, ROOT, config_service
from tests.support.servers import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = "instance_lookup"
pytestmark = pytest.mark.extras  # the metrics have packages of their own


def text(page: str) -> str:
    return PAGES[page].read_text(encoding="utf-8")


def test_pages_are_up_to_date() -> None:
    """What the pages say of the code is what the code says now."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.reference", "--check", "--diff"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"Run: python -m tests.reference\n{done.stdout}{done.stderr}"


def test_each_check_has_an_example() -> None:
    """A check that is added to the code comes onto the page."""
    sources = [*(ROOT / "instance_lookup").rglob("*checks.py")]
    found = {
        number
        for source in sources
        for number in re.findall(r'"(?:instance_lookup\.)?([EW]\d{3})"', source.read_text("utf-8"))
    }
    assert found == set(checks.EXAMPLES)


def imported(source: str) -> Iterator[tuple[str, str]]:
    """Yield what a block of code imports of ours: the module and the name."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module=str(home), names=names) if home.startswith(PACKAGE):
                yield from ((home, each.name) for each in names)


def test_each_import_of_the_docs_is_public() -> None:
    """What the pages import is on the pages of public names."""
    used = {each for block in ALL if block.language == "python" for each in imported(block.text)}
    public = {(PACKAGE, name) for name in (*instance_lookup.__all__, *api.MODULES)}
    public |= {(f"{PACKAGE}.{home}", name) for home, names in api.MODULES.items() for name in names}
    public |= {(f"{PACKAGE}.signals", name) for name in signals.DOCS}
    public |= {(f"{PACKAGE}.exceptions", error.__name__) for error in errors.classes()}
    assert used
    assert used - public == set()


def test_page_has_every_command() -> None:
    """Each command has a section, and its usage lines have each of its options, and no other."""
    page = text("commands.md")
    for name in commands.names():
        section = page.partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]
        assert section, name
        usage = "".join(re.findall(r"^    (.+)$", section.partition("<!--")[0], re.MULTILINE))
        options = {each.option_strings[0] for each in commands.taken(name) if each.option_strings}
        assert set(re.findall(r"--[a-z-]+", usage)) == options


def test_signals_carry_what_the_page_says() -> None:
    """Each signal is sent with the arguments that its docstring lists."""
    sent: dict[str, set[str]] = {}
    for name, signal in named_signals().items():
        signal.connect(note(sent, name), weak=False)
    with config_service() as service:
        resolver = InstanceResolver(config_service_url=service.url)
        context = LookupContext(LookupUser("1"), instance_id="acme")
        resolver.resolve(context)
        resolver.cache.expire("acme")
        service.answers = Answer(200, b"no document")
        assert resolver.resolve(context).source is Source.STALE_CACHE
        with pytest.raises(AccessDenied):
            resolver.resolve(LookupContext(LookupUser("2"), instance_id="acme"))
    listed = {
        name: set(re.findall(r"^\* ``(\w+)``:", doc, re.MULTILINE))
        for name, doc in signals.DOCS.items()
    }
    assert sent == listed


def named_signals() -> dict[str, Signal]:
    return {name: each for name, each in vars(sending).items() if isinstance(each, Signal)}


def note(sent: dict[str, set[str]], name: str) -> Callable[..., None]:
    def receive(sender: object, signal: Signal, **arguments: object) -> None:
        sent[name] = set(arguments)

    return receive
