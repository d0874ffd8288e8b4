"""docs/operations/troubleshooting.md: each line, error, reason and check of the code is there."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import pytest

from instance_lookup import exceptions
from instance_lookup.backends.answers import Reason
from instance_lookup.exceptions import InstanceLookupError, InstanceRequired
from instance_lookup.fetching import reasons
from tests.support.documents import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    Kind = Callable[[ast.Call], ast.AST | None]

PAGES = ROOT / "docs" / "operations"
PAGE = (PAGES / "troubleshooting.md").read_text(encoding="utf-8")
CODE = ROOT / "instance_lookup"
VALUE = "\0"
"""Stands for a value in a text of the code; the page writes "…"."""
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
ERRORS = {
    name
    for name, found in vars(exceptions).items()
    if isinstance(found, type) and issubclass(found, InstanceLookupError | InstanceRequired)
}
OF_CODE = {"RuntimeError", "SynchronousOnlyOperation", "ImproperlyConfigured"}
SHORTEST = 10
"""Characters of a text that a reader can search for."""
INTERNAL = {
    "Another process was just told so.",  # replaced before it leaves the package
    f"A job ended with {VALUE}.",  # these two: of a backend that ends the interpreter, or worse
    f"a job raised StopIteration({VALUE})",
}
"""Texts that no reader is to meet."""


def joined(node: ast.JoinedStr) -> str:
    """Return an f-string with ``VALUE`` for each of its values."""
    constants = (each.value if isinstance(each, ast.Constant) else VALUE for each in node.values)
    return "".join(map(str, constants))


def parts(node: ast.AST | None) -> list[ast.expr]:
    """Return the expressions of which one, or all, make up the text of this one."""
    match node:
        case ast.JoinedStr(values=values):
            return [each.value for each in values if isinstance(each, ast.FormattedValue)]
        case ast.IfExp(body=one, orelse=other):
            return [one, other]
        case ast.BoolOp(values=values) | ast.Tuple(elts=values) | ast.Dict(values=values):
            return values
        case ast.Call(func=ast.Attribute(value=inner)):  # its blanks are stripped
            return [inner]
    return []


@dataclass
class Module:
    """A module of the package, with what its names stand for."""

    name: str
    tree: ast.Module

    @cached_property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        kinds = ast.FunctionDef | ast.AsyncFunctionDef
        return [node for node in ast.walk(self.tree) if isinstance(node, kinds)]

    @cached_property
    def calls(self) -> list[tuple[ast.Call, ast.AST]]:
        """Each call, with the innermost function that it is in."""
        inside: dict[ast.AST, ast.AST] = {}
        for function in self.functions:  # outer ones first
            inside.update(dict.fromkeys(ast.walk(function), function))
        return [
            (node, inside.get(node, self.tree))
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Call)
        ]

    def texts(self, node: ast.AST | None, scope: ast.AST) -> list[str]:
        """Return the texts that an expression in ``scope`` may be, each value as ``VALUE``."""
        match node:
            case ast.Constant(value=str(text)):
                found = [re.sub(r"%[sr]", VALUE, text)]
            case ast.JoinedStr() if re.search("[a-z]", text := joined(node)):
                found = [text]
            case ast.Name(id=name):
                found = self._assigned(name, scope)
            case ast.Subscript(value=ast.Name(id=name)):
                found = self._assigned(name, self.tree)
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if "strip" not in name:
                found = self._returned(name)
            case ast.Attribute(attr=name):
                found = self._returned(name)
            case _:
                found = [text for part in parts(node) for text in self.texts(part, scope)]
        return found

    def _assigned(self, name: str, scope: ast.AST) -> list[str]:
        found = []
        for node in ast.walk(scope):
            match node:
                case ast.Assign(targets=[target], value=value):
                    pass
                case ast.NamedExpr(target=target, value=value):
                    pass
                case _:
                    continue
            names, values = [target], [value]
            if isinstance(target, ast.Tuple):  # "a, b = c, d", or "a, b = f()"
                names = target.elts
                values = value.elts if isinstance(value, ast.Tuple) else [value] * len(names)
            for one, its in zip(names, values, strict=True):
                if isinstance(one, ast.Name) and one.id == name:
                    found += self.texts(its, scope)
        return found

    def _returned(self, name: str) -> list[str]:
        """Return what a function of this module gives back, or the only one of that name."""
        every = functions().get(name, [])
        own = [(module, each) for module, each in every if module is self]
        own = own or (every if len(every) == 1 else [])
        return [
            text
            for module, function in own
            for node in ast.walk(function)
            if isinstance(node, ast.Return) and name not in ast.dump(node)  # not itself
            for text in module.texts(node.value, function)
        ]


@cache
def modules() -> list[Module]:
    return [
        Module(str(path.relative_to(CODE)), ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(CODE.rglob("*.py"))
        if "testing" not in path.parts  # what tests of a site import says what it means to them
    ]


@cache
def functions() -> dict[str, list[tuple[Module, ast.AST]]]:
    """Return the functions of all modules by their names."""
    by_name: dict[str, list[tuple[Module, ast.AST]]] = {}
    for module in modules():
        for function in module.functions:
            by_name.setdefault(function.name, []).append((module, function))
    return by_name


def name_of(call: ast.Call) -> str:
    called = call.func.body if isinstance(call.func, ast.IfExp) else call.func
    return getattr(called, "attr", getattr(called, "id", ""))


def keyword(call: ast.Call, name: str) -> ast.AST | None:
    return next((each.value for each in call.keywords if each.arg == name), None)


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


def found(kind: Kind) -> dict[str, str]:
    """Return the texts of a ``kind`` of call, with the place of each."""
    return {
        text: f"{module.name}:{call.lineno}"
        for module in modules()
        for call, scope in module.calls
        for text in module.texts(kind(call), scope)
        if re.search("[a-z]", text) and text not in INTERNAL
    }


def phrases(title: str) -> list[str]:
    """Return what is in code in the first column of the tables of a section."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \|", section, re.MULTILINE)
    return [phrase for cell in rows for phrase in re.findall("`([^`]+)`", cell)]


def is_part(phrase: str, text: str) -> bool:
    """Tell whether a phrase of the page, with "…" for values, is of a text of the code."""
    parts = map(re.escape, phrase.split("…"))
    return re.search(".*".join(parts), text, re.DOTALL) is not None


SECTIONS = {
    "Answers that users get": error,
    "Lines of the log": logged,
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
    texts = [*found(SECTIONS[title]), *found(error)]  # lines and commands pass errors on
    names = ERRORS | OF_CODE | all_reasons() | checks()
    gone = [
        phrase
        for phrase in phrases(title)
        if phrase not in names and not any(is_part(phrase, text) for text in texts)
    ]
    assert gone == []


def test_each_line_of_the_log_is_understood() -> None:
    """A call that logs what cannot be read from the code would be missing above."""
    passed_on = {
        f"{module.name}: {ast.unparse(call.func)}"
        for module in modules()
        for call, scope in module.calls
        if (text := logged(call)) is not None and not module.texts(text, scope)
    }
    assert passed_on == {"resilience/health.py: logger.log"}  # what ``failed`` is told


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
