"""docs/operations/troubleshooting.md: each line, error, reason and check of the code is there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import pytest

from instance_lookup import exceptions
from instance_lookup.backends.answers import Reason
from instance_lookup.exceptions import InstanceLookupError, InstanceRequired
from instance_lookup.fetching import reasons
from tests.support.code_texts import VALUE, Module, keyword, modules, name_of
from tests.support.documents import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    Kind = Callable[[ast.Call], ast.AST | None]

PAGES = ROOT / "docs" / "operations"
PAGE = (PAGES / "troubleshooting.md").read_text(encoding="utf-8")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
ERRORS = {
    name
    for name, found in vars(exceptions).items()
    if isinstance(found, type) and issubclass(found, InstanceLookupError | InstanceRequired)
}
OF_CODE = {"RuntimeError", "SynchronousOnlyOperation", "ImproperlyConfigured"}
SHORTEST = 8
"""Characters of a text that a reader can search for."""
INTERNAL = {
    "Another process was just told so.",  # replaced before it leaves the package
    f"A job ended with {VALUE}.",  # these two: of a backend that ends the interpreter, or worse
    f"a job raised StopIteration({VALUE})",
    f"ttl {VALUE}",  # too short to search for: the value says the range
    "it keeps nothing",
}
"""Texts that no reader is to meet."""


def logged(call: ast.Call) -> ast.AST | None:
    """Return the text of a call that logs, or that tells a ``Health`` what to log."""
    name, arguments = name_of(call), call.args
    if not isinstance(call.func, ast.Attribute):
        return None
    owner = ast.unparse(call.func.value)
    if owner.endswith("logger") and name in {*LEVELS, "log"}:
        return arguments[name == "log"]
    if name not in {"ok", "failed"} or owner.endswith("breaker"):
        return None
    return arguments[1] if len(arguments) > 1 else keyword(call, "line")


def error(call: ast.Call) -> ast.AST | None:
    """Return the message of an error that is made."""
    return call.args[0] if name_of(call) in ERRORS | OF_CODE and call.args else None


def mistake(call: ast.Call) -> ast.AST | None:
    """Return the message for code that uses the package in a wrong way."""
    return call.args[0] if name_of(call) in {"TypeError", "ValueError"} and call.args else None


CAUGHT = {
    "backends/sockets.py",
    "backends/transport.py",
    "cache/codec.py",
    "cache/encryption.py",
    "conf/validators.py",
    "push/changes.py",
}
"""Modules whose ``ValueError`` is about bytes or settings, and ends in another text."""


def cause(call: ast.Call) -> ast.AST | None:
    """Return the words for which a line of the log says that something failed."""
    names = {"Rejected", "OtherSpelling", "NoToken", "NotSigned", "StreamLost", "ValueError"}
    return call.args[0] if name_of(call) in names and call.args else None


EVENTS = "push/changes.py"
"""The one of them whose texts are the words for which an event is refused."""


def is_meant(kind: Kind, module: Module, call: ast.Call) -> bool:
    """Tell whether a ``ValueError`` of this module is of this ``kind``; others say it by name."""
    if kind is mistake:
        return module.name not in CAUGHT
    return kind is not cause or name_of(call) != "ValueError" or module.name == EVENTS


OF_CACHE = {"not a cache entry", f"an entry of format {VALUE} for another id or release"}
"""Causes that no line has: such an entry counts as absent."""


def why(call: ast.Call) -> ast.AST | None:
    """Return what the status says is wrong."""
    called = ast.unparse(call.func)
    if called == "why.append":
        return call.args[0]
    if called == "dict.fromkeys" and isinstance(call.args[0], ast.List):
        return call.args[0].elts[-1]
    return None


def check(call: ast.Call) -> ast.AST | None:
    """Return the message of a system check, or what is wrong with a setting."""
    places = {"Error": 0, "Warning": 0, "Problem": 1, "_error": 2}
    place = places.get(name_of(call))
    return None if place is None or len(call.args) <= place else call.args[place]


def command(call: ast.Call) -> ast.AST | None:
    """Return what a command leaves with, or writes; mistyped options say what to type."""
    if name_of(call) == "CommandError" and "USAGE" not in ast.dump(call):
        return call.args[0]
    return call.args[0] if ast.unparse(call.func).endswith("stderr.write") else None


@cache
def found(kind: Kind) -> dict[str, str]:
    """Return the texts of a ``kind`` of call, with the place of each."""
    return {
        text: f"{module.name}:{call.lineno}"
        for module in modules()
        for call, scope in module.calls
        for text in module.texts(kind(call), scope)
        if re.search("[a-z]", text) and text not in INTERNAL | OF_CACHE
        if is_meant(kind, module, call)
    }


def phrases(title: str) -> list[str]:
    """Return what is in code in the first column of the tables of a section."""
    level, name = ("###", title) if title == "The words in brackets" else ("##", title)
    section = PAGE.partition(f"\n{level} {name}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \|", section, re.MULTILINE)
    return [phrase for cell in rows for phrase in re.findall("`([^`]+)`", cell)]


def is_part(phrase: str, text: str) -> bool:
    """Tell whether a phrase of the page, with "…" for values, is of a text of the code."""
    parts = map(re.escape, phrase.split("…"))
    return re.search(".*".join(parts), text, re.DOTALL) is not None


SECTIONS = {
    "Answers that users get": error,
    "Mistakes in code": mistake,
    "Lines of the log": logged,
    "The words in brackets": cause,
    "Status": why,
    "Checks": check,
    "Commands": command,
}


@pytest.mark.parametrize("title", SECTIONS)
def test_each_text_of_the_code_is_on_the_page(title: str) -> None:
    """A reader finds what a line or an error means by a part of its text."""
    given = [phrase for phrase in phrases(title) if len(phrase) >= SHORTEST]
    forgotten = {
        text.replace(VALUE, "…"): place
        for text, place in found(SECTIONS[title]).items()
        if not any(is_part(phrase, text) for phrase in given)
    }
    assert forgotten == {}, f"Add a row to {title!r}."


@pytest.mark.parametrize("title", SECTIONS)
def test_each_text_of_the_page_is_in_the_code(title: str) -> None:
    """What was reworded or removed leaves the page as well."""
    texts = [text for kind in SECTIONS.values() for text in found(kind)]  # one may pass on another
    names = ERRORS | OF_CODE | all_reasons() | checks()
    gone = [
        phrase
        for phrase in phrases(title)
        if phrase not in names and not any(is_part(phrase, text) for text in texts)
    ]
    assert gone == []


PASSED_ON = {
    "conf/__init__.py": 1,  # what is wrong with each setting, joined
    "fetching/fetcher.py": 1,  # an error of a backend
    "operations/calls.py": 1,  # the same
    "resilience/health.py": 1,  # what ``failed`` is told
    "backends/access_tokens.py": 1,  # the failure of another thread
    "push/stream_connection.py": 3,  # errors below, and their classes
    "push/stream_listener.py": 1,  # the class of an error
    "checks.py": 3,  # what is wrong with one setting, which its id finds
    "management/base.py": 1,  # an outcome, which has an error
    "management/commands/invalidate_instance_cache.py": 1,  # a question
}
"""How many calls of a module pass on a text that is made elsewhere."""


def test_each_text_is_understood() -> None:
    """A call whose text cannot be read from the code would be missing above."""
    passed_on = Counter(
        module.name
        for kind in SECTIONS.values()
        for module in modules()
        for call, scope in module.calls
        if (text := kind(call)) is not None and not module.texts(text, scope)
        if is_meant(kind, module, call)
    )
    assert passed_on == PASSED_ON


def shown_lines() -> list[str]:
    """Return the whole lines of the log that docs/explanation/resilience.md shows."""
    text = (ROOT / "docs" / "explanation" / "resilience.md").read_text(encoding="utf-8")
    part = text.partition("\n## What the log says\n")[2].partition("\n## ")[0]
    return re.findall(r"^    (\S.+)$", part, re.MULTILINE)


def test_whole_lines_of_the_log_are_found() -> None:
    """A reader who has a line of their own log, with its values, finds a row for it."""
    given = [phrase for phrase in phrases("Lines of the log") if len(phrase) >= SHORTEST]
    lines = shown_lines()
    assert len(lines) > 15
    assert [line for line in lines if not any(is_part(each, line) for each in given)] == []


@cache
def all_reasons() -> set[str]:
    """Return the reasons of ``reasons``, of HTTP, and those that the code writes down itself."""
    known = {*reasons._MEANINGS, *Reason}
    for module in modules():
        for call, scope in module.calls:
            given = [keyword(call, "reason")]
            if name_of(call) == "unavailable":
                given += call.args[1:2]
            known.update(text for node in given for text in module.texts(node, scope))
            if name_of(call) == "Failure" and len(call.args) > 2:
                known.update(module.texts(call.args[2], module.tree))
    return {str(reason) for reason in known if re.fullmatch("[a-z_]+", reason)}


def test_each_reason_is_on_the_page() -> None:
    """``details["reason"]`` of an error, and "reason" in what commands write, is explained."""
    assert {"timeout", "full", "miss_budget", "blocked", "no_list"} <= all_reasons()
    assert all_reasons() - {*phrases("Answers that users get")} == set()


def test_each_error_is_on_the_page() -> None:
    """Each class that this package raises is named."""
    abstract = {"InstanceLookupError"}
    assert ERRORS - abstract - {*phrases("Answers that users get")} == set()


def checks() -> set[str]:
    """Return the ids of the checks."""
    texts = [
        node.value
        for module in modules()
        if module.name.endswith("checks.py")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    ids = {found[1] for text in texts if (found := re.fullmatch(r"(?:\w+\.)?([EW]\d{3})", text))}
    return {f"instance_lookup.{number}" for number in ids}


def test_each_check_is_on_the_page() -> None:
    """An id that ``manage.py check`` shows is found in full."""
    assert checks() - {*phrases("Checks")} == set()


def test_links_lead_somewhere() -> None:
    """Each link of the page leads to a file, and to a heading where it names one."""
    for file, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", PAGE):
        path = PAGES / (file or "troubleshooting.md")
        headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
        assert not anchor or anchor in slugs, (file, anchor)
