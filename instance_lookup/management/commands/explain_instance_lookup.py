"""``manage.py explain_instance_lookup``: see docs/operations/explain.md."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from instance_lookup.management.base import Exit, InstanceCommand
from instance_lookup.management.explained import lines
from instance_lookup.operations.callers import explain_user

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from instance_lookup.operations.explanation import Explanation

_HEADER = re.compile(r"\s*([!#$%&'*+.^`|~0-9A-Za-z-]+)\s*:\s*(.*?)\s*")


class Command(InstanceCommand):
    """Say why a user gets what they get, without changing anything."""

    help = "Says why a user gets what they get: which instance, from where, by which rule."
    takes_ids = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Take who asks, and with which request."""
        super().add_arguments(parser)
        add = parser.add_argument
        who = parser.add_mutually_exclusive_group(required=True)
        who.add_argument("--user", metavar="NAME", help="Username of the caller, or else the key.")
        who.add_argument("--anonymous", action="store_true", help="A caller who is not logged in.")
        add(
            "--header",
            action="append",
            default=[],
            metavar="'NAME: VALUE'",
            help="A header of the request; may be given several times.",
        )
        add("--path", default="/", help="Path of the request, with its query, if any.")
        add("--instance", metavar="ID", help="Name the instance outright, as code does.")
        add("--project", metavar="ID", help="Name the project outright, as code does.")
        add(
            "--ask",
            action="store_true",
            help="Ask the Config Service where a lookup would; nothing is stored.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Explain, and report."""
        headers = dict(map(_header, options["header"]))
        told = explain_user(
            self.make_resolver(),
            None if options["anonymous"] else options["user"],
            headers=headers,
            path=options["path"],
            instance_id=options["instance"],
            project_id=options["project"],
            ask=options["ask"],
        )
        if options["format"] == "json":
            self.say_json(told.as_dict())
        else:
            for line in lines(told):
                self.say(line)
        _leave(told)


def _header(text: str) -> tuple[str, str]:
    match = _HEADER.fullmatch(text)
    if match is None:
        raise CommandError(
            f"{text!r} is not a header: write --header 'X-Instance-ID: acme'.",
            returncode=Exit.USAGE,
        )
    return match[1], match[2]


def _leave(told: Explanation) -> None:
    """Raise ``CommandError`` with the exit code for what was told, unless that is 0."""
    if told.cache_failed:
        raise CommandError("The cache could not be read.", returncode=Exit.CACHE)
    if told.is_refused:
        raise CommandError("They do not get an instance.", returncode=Exit.SOME_FAILED)
