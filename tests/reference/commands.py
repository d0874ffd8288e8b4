"""docs/reference/commands.md: what commands take, and what they leave with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from instance_lookup.management.base import Exit
from tests.reference.text import attribute_docs, cell, show, table

if TYPE_CHECKING:
    from argparse import Action
    from collections.abc import Iterable

APP = "instance_lookup"


class Plain(BaseCommand):
    """A command with Django's own options only."""


def names() -> list[str]:
    """Return the names of all commands."""
    return sorted(name for name, app in get_commands().items() if app == APP)


def options(name: str) -> None:
    """Show what a command takes, beside what each command of Django does."""
    rows = ([_usage(action), cell(action.help or "")] for action in taken(name))
    show(table(["Option", "Meaning"], rows))


def taken(name: str) -> Iterable[Action]:
    """Return the arguments and options that a command adds to those of Django."""
    known = {action.dest for action in Plain().create_parser("", "")._actions}
    actions = load_command_class(APP, name).create_parser("", name)._actions
    return [action for action in actions if action.dest not in known]


def exit_codes() -> None:
    """Show what each exit code means."""
    docs = attribute_docs(Exit)
    rows = [["0", "All is done."]] + [[str(code.value), cell(docs[code.name])] for code in Exit]
    show(table(["Code", "Meaning"], rows))


def _usage(action: Action) -> str:
    if action.choices:
        value = f" {'|'.join(action.choices)}".replace("|", r"\|")
    elif action.nargs == 0:
        value = ""
    else:
        value = f" {action.metavar or action.dest.upper()}"
    more = " …" if action.nargs in {"*", "+"} else ""
    return f"`{action.option_strings[0] if action.option_strings else ''}{value}{more}`".replace(
        "` ", "`"
    )
