"""docs/reference/api.md: the public names, read from the sources without importing them."""

from __future__ import annotations

import ast
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import instance_lookup
from instance_lookup import exceptions
from tests.reference.text import cell, docs_below, first_sentence, link, markdown, show, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = instance_lookup.__name__
HOME = Path(instance_lookup.__file__).parent
MODULES = {
    "middleware": ["InstanceConfigMiddleware"],
    "decorators": ["instance_required", "InstanceRequiredMixin"],
    "request": ["InstanceRequest"],
    "access": ["Policy", "IsOwner", "IsAdmin", "IsTenantMember", "HasRole", "HasFeature"],
    "identifiers": [
        "Identifier",
        "HeaderIdentifier",
        "ProjectIdentifier",
        "UserDefaultIdentifier",
        "PathIdentifier",
        "SubdomainIdentifier",
        "QueryIdentifier",
        "InstanceRef",
        "ProjectRef",
    ],
    "users": ["user_context"],
    "permissions": [
        "IsInstanceOwner",
        "IsInstanceAdmin",
        "IsInstanceOwnerOrAdmin",
        "HasInstanceFeature",
        "InstanceAPIRequest",
        "exception_handler",
    ],
    "throttling": ["instance_throttled", "InstanceRateThrottle"],
    "context_processors": ["instance"],
    "asgi": ["InstanceConfigMiddleware"],
    "backends.base": ["ConfigServiceBackend", "Query", "Document", "NotModified", "Page"],
    "backends.http": ["HttpConfigService"],
    "backends.access_tokens": ["AccessTokens"],
    "backends.file": ["FileConfigService"],
    "backends.memory": ["DictConfigService"],
    "serializers": ["BytesSerializer"],
    "warming": ["warm", "awarm"],
    "invalidation": ["invalidate", "invalidate_all", "block", "unblock"],
    "inspection": ["inspect", "inspect_one", "Survey", "StaleOnly"],
    "outcomes": ["Failure", "Listing"],
    "operations.explain": ["explain", "aexplain"],
    "operations.callers": ["explain_user"],
    "operations.compare": ["compare", "compare_one", "acompare_one", "fingerprint"],
    "operations.status": ["get_status"],
    "operations.reports": ["read_reports"],
    "operations.index": ["read_answers"],
    "operations.doctor.examination": ["examine"],
    "operations.doctor.findings": ["exit_code"],
    "events": ["watch", "unwatch"],
    "logging": ["RequestFilter"],
    "contrib.celery": ["install", "instance_task"],
    "contrib.celery.tasks": ["warm_instances", "refresh_instances"],
    "contrib.django_tasks": ["install", "instance_task"],
    "contrib.django_tasks.tasks": ["warm_instances", "refresh_instances"],
    "contrib.openfeature": ["InstanceProvider"],
    "contrib.health_check": ["InstanceLookup"],
    "contrib.debug_toolbar": ["InstanceLookupPanel"],
    "testing": [
        "override_instance_config",
        "FakeConfigService",
        "Fault",
        "Answer",
        "faulty_cache",
        "ConfigServiceContract",
        "webhook_delivery",
    ],
}
"""What is public beside ``instance_lookup.__all__``: what the other pages import or name."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


def index() -> None:
    """Show the names that are in the package itself, but for errors."""
    rows = [[link(name), cell(first_sentence(_doc(node)))] for name, node in _of_package()]
    show(table(["Name", "What"], rows))


def entries() -> None:
    """Show each of these names: how to call it, what it does, what it holds."""
    show("\n\n".join(_entry(name, node) for name, node in _of_package()))


def modules() -> None:
    """Show what is in which other module."""
    parts = []
    for module, names in MODULES.items():
        nodes = ((name, find(f"{ROOT}.{module}", name)) for name in names)
        rows = [[f"`{name}`", cell(first_sentence(_doc(node)))] for name, node in nodes]
        parts.append(f"### {ROOT}.{module}\n\n{table(['Name', 'What'], rows)}")
    show("\n\n".join(parts))


def find(module: str, name: str) -> Definition:
    """Return the definition of ``name``, which ``module`` may have from another one."""
    for node in ast.walk(_tree(module)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() if node.name == name:
                if _doc(node):  # an overload has none
                    return node
            case ast.ImportFrom(module=str(home), names=names) if home.startswith(ROOT):
                if any(each.name == name for each in names):
                    return find(home, name)
    raise LookupError(f"{module} has no {name}")


@cache
def _tree(module: str) -> ast.Module:
    path = HOME.joinpath(*module.split(".")[1:])
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(source.read_text(encoding="utf-8"))


def _of_package() -> Iterator[tuple[str, Definition]]:
    functions_first = sorted(instance_lookup.__all__, key=lambda name: (name[0].isupper(), name))
    for name in functions_first:
        if not hasattr(exceptions, name):  # they have a page of their own
            yield name, find(ROOT, name)


def _doc(node: Definition) -> str:
    return ast.get_docstring(node) or ""


def _entry(name: str, node: Definition) -> str:
    parts = [f"### {name}"]
    made = [each for each in _public(node) if each.name == "__init__"]
    parts += [
        f"    {_call(each, name)}" for each in ([node] if isinstance(node, Function) else made)
    ]
    parts.append(markdown(_doc(node)))
    if isinstance(node, ast.ClassDef):
        if fields := list(_fields(node.body)):
            parts.append(table(["Field", "Meaning"], fields))
        methods = [each for each in _public(node) if each.name != "__init__"]
        if methods:
            parts.append("\n".join(map(_method, methods)))
    return "\n\n".join(parts)


def _public(node: Definition) -> list[Function]:
    return [
        each
        for each in node.body
        if isinstance(each, Function)
        and isinstance(node, ast.ClassDef)
        and (each.name == "__init__" or not each.name.startswith("_"))
    ]


def _fields(body: Sequence[ast.stmt]) -> Iterator[list[str]]:
    docs = docs_below(body)
    for node in body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=value):
                default = f" = {ast.unparse(value)}" if value else ""
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                default = f" = {ast.unparse(value)}"
            case _:
                continue
        if not name.startswith("_"):
            yield [f"`{name}{default}`".replace("'", '"'), cell(docs.get(name, ""))]


def _method(node: Function) -> str:
    kind = {ast.unparse(each) for each in node.decorator_list}
    shown = node.name if kind & {"property", "cached_property"} else _call(node, node.name)
    return f"* `{shown}`: {cell(first_sentence(_doc(node)))}"


def _call(node: Function, name: str) -> str:
    """Return how to call it: names and defaults, without types."""
    arguments = deepcopy(node.args)
    if arguments.args and arguments.args[0].arg in {"self", "cls"}:
        del arguments.args[0]
    for each in ast.walk(arguments):
        if isinstance(each, ast.arg):
            each.annotation = None
    waits = "await " if isinstance(node, ast.AsyncFunctionDef) else ""
    return f"{waits}{name}({ast.unparse(arguments)})".replace("'", '"')
