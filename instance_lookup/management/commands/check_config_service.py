"""``manage.py check_config_service``: see docs/operations/doctor.md."""

from __future__ import annotations

from collections import Counter
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from instance_lookup.management.base import InstanceCommand
from instance_lookup.operations.doctor.examination import examine
from instance_lookup.operations.doctor.findings import Level, exit_code

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from instance_lookup.operations.doctor.findings import Finding

_WIDTH = 100
_INDENT = " " * 26
_MEANS = {1: "There is something to correct", 2: "It would not work"}


class Command(InstanceCommand):
    """Say what is wrong with the Config Service and the cache, and what to do."""

    help = "Checks the Config Service against its contract, and the cache, and says what to do."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return Django's parser, which exits with 2 for a mistyped option.

        That is "would not work" here; the other commands mean something else by it. ``prog_name``
        is the program (``manage.py``), ``subcommand`` this command, ``kwargs`` are argparse's own.
        """
        return BaseCommand.create_parser(self, prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        """Take which instance to look at, and how closely."""
        add = parser.add_argument
        add(
            "--instance",
            metavar="ID",
            help="The instance to look at, instead of the first of the service's list.",
        )
        add(
            "--deep",
            action="store_true",
            help="Also ask with a wrong credential and without, and look at all instances.",
        )
        add(
            "--format",
            choices=("text", "json"),
            default="text",
            help="json: one object on standard output, and nothing else.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Look, and report."""
        findings: list[Finding] = []
        is_text = options["format"] == "text"
        for finding in examine(options["instance"], deep=options["deep"]):
            findings.append(finding)
            if is_text:
                self._say_lines(finding)
        code = exit_code(findings)
        counts = Counter(finding.level for finding in findings)
        if is_text:
            self.say(", ".join(_counted(counts[level], level) for level in Level))
        else:
            found = [finding.as_dict() for finding in findings]
            self.say_json({"code": code, "findings": found})
        if code:
            level = Level.ERROR if code > 1 else Level.WARNING
            names = dict.fromkeys(each.probe for each in findings if each.level is level)
            raise CommandError(f"{_MEANS[code]}: {', '.join(names)}.", returncode=code)

    def _say_lines(self, finding: Finding) -> None:
        head = f"{finding.level:<8} {finding.probe:<16} "
        lines = _wrapped(head + finding.seen, first="", then=_INDENT)
        for line in [*lines, *_wrapped(finding.do, first=f"{_INDENT}-> ", then=f"{_INDENT}   ")]:
            self.say(line)


def _counted(count: int, level: Level) -> str:
    plural = "s" if count != 1 and level in {Level.WARNING, Level.ERROR} else ""
    return f"{count} {level}{plural}"


def _wrapped(text: str, *, first: str, then: str) -> list[str]:
    """Return lines of a text; words stay whole, so that they can be copied."""
    return wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )
