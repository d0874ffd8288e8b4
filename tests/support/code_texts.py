"""The texts that the code of the package can say, read from its source."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache, cached_property

from tests.support.documents import ROOT

CODE = ROOT / "instance_lookup"
VALUE = "\0"
"""Stands for a value in a text of the code; the page writes "…"."""


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
