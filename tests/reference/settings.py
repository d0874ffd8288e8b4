"""docs/reference/settings.md."""

from __future__ import annotations

from types import NoneType
from typing import get_args

from instance_lookup.conf import validators
from instance_lookup.conf.settings import HINTS, Settings
from tests.reference import checks
from tests.reference.text import attribute_docs, cell, first_sentence, link, markdown, show, table

DOCS = attribute_docs(Settings)
GROUPS = {
    "config_service_backend": "The Config Service",
    "retry_interval": "When the Config Service fails",
    "cache_alias": "The cache",
    "identifiers": "Which instance, and who may have it",
    "webhook_secrets": "Around lookups",
}
"""The heading that goes above a setting."""
SHORT = 20
"""Characters that a cell of the table has room for."""


def index() -> None:
    """Show a table of all settings with their defaults, one part under each heading."""
    parts: list[tuple[str, list[list[str]]]] = []
    for name in Settings.__struct_fields__:
        if name in GROUPS:
            parts.append((GROUPS[name], []))
        default = _default(getattr(Settings(), name))
        shown = f" Default: {default}." if len(default) <= SHORT else ""
        parts[-1][1].append([link(name.upper()), cell(first_sentence(DOCS[name])) + shown])
    head = ["Setting", "Meaning"]
    show("\n\n".join(f"**{title}**\n\n{table(head, rows)}" for title, rows in parts))


def entries() -> None:
    """Show each setting with its default, what it has to be, its checks and its meaning."""
    show("\n\n".join(map(_entry, Settings.__struct_fields__)))


def _entry(name: str) -> str:
    setting = name.upper()
    head = f"## {GROUPS[name]}\n\n" if name in GROUPS else ""
    shown = ", ".join(checks.link_to(number) for number in checks.about(setting))
    facts = [
        f"* Value: {_kind(name)}",
        f"* Default: {_default(getattr(Settings(), name))}",
        f"* Checks: {shown}",
    ]
    return f"{head}### {setting}\n\n" + "\n".join(facts) + f"\n\n{markdown(DOCS[name])}"


def _kind(name: str) -> str:
    hint = HINTS[name]
    what = validators.describe(hint).replace("'", "`")
    return f"{what}, or `None`" if NoneType in get_args(hint) else what


def _default(value: object) -> str:
    if isinstance(value, tuple) and len(value) > 1:
        return "".join(f"\n  * `{each!r}`" for each in value).replace("'", '"')
    if type(value) is int:
        return f"`{value:_}`"
    return f"`{value!r}`".replace("'", '"')
