"""``manage.py instance_lookup_status``: see docs/operations/status.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from instance_lookup.management.base import Exit, InstanceCommand
from instance_lookup.management.status_text import lines_of
from instance_lookup.operations.condition import State
from instance_lookup.operations.reports import read_reports
from instance_lookup.operations.status import get_status

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from instance_lookup.operations.reports import Fleet


class Command(InstanceCommand):
    """Show how the site is doing."""

    help = (
        "Shows how the site is doing: Config Service, cache, invalidations, stale copies, as the"
        " processes that report (REPORT_STATUS) know it. Asks the Config Service nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the format."""
        self.add_format(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Read the reports, and show what they say."""
        resolver = self.make_resolver()
        fleet = read_reports(resolver)
        status = get_status(resolver, fleet)
        if options["format"] == "json":
            reports = {"on": fleet.is_on, "failure": fleet.failure}
            self.say_json(status.as_dict() | {"reports": reports})
        else:
            for line in lines_of(status):
                self.say(line)
        if note := _why_unknown(fleet):
            self.stderr.write(note)
        if status.state is State.UNHEALTHY:
            raise CommandError("The site is unhealthy.", returncode=Exit.SOME_FAILED)


def _why_unknown(fleet: Fleet) -> str:
    if fleet.failure:
        return f"{fleet.failure} So the reports of the site's processes are not known."
    if fleet.processes:
        return ""
    said = "No process has reported within 30 s, so this is what the command itself found out."
    if fleet.is_on:
        return f"{said} A process reports 2 s after its first lookup."
    return f"{said} Set REPORT_STATUS to True, so that processes report."
