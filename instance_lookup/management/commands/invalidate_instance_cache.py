"""``manage.py invalidate_instance_cache``: see docs/reference/commands.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from instance_lookup.cache.blocks import moment, seconds_of
from instance_lookup.invalidation import (
    Invalidated,
    block,
    invalidate,
    invalidate_all,
    parse_duration,
    unblock,
)
from instance_lookup.management.base import Collected, Exit, InstanceCommand, list_error
from instance_lookup.outcomes import Listing, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.core.management.base import CommandParser

    from instance_lookup.outcomes import Failure
    from instance_lookup.resolver import InstanceResolver

_DOWN = "Nothing was invalidated: it would take every instance down. --force does it all the same."
_DONE = {
    "invalidate": "Invalidated",
    "expire": "Expired",
    "block": "Blocked",
    "unblock": "Unblocked",
}
_QUESTION = (
    "Every instance and project will be fetched from the Config Service at its next request;"
    " one that the service does not give out then is down.\n"
    "Type 'yes' to go on: "
)


class Command(InstanceCommand):
    """Have cached configurations not served again."""

    help = "Has cached configurations not served again: see --expire for a gentler way."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take what to invalidate, and how."""
        super().add_arguments(parser)
        add = parser.add_argument
        add(
            "--project",
            nargs="+",
            action="extend",
            default=[],
            metavar="ID",
            help="Forget which instance these projects belong to.",
        )
        add(
            "--expire",
            action="store_true",
            help="Mark as stale: the Config Service is asked first, the copy serves if it fails.",
        )
        add(
            "--block",
            metavar="TIME",
            help="Let no user have them for this time (24h, 30m, 2d, 3600), whatever the service"
            " says.",
        )
        add("--unblock", action="store_true", help="Lift a block before its time is over.")
        add("--all", action="store_true", help="Every instance and project.")
        add(
            "--no-input",
            "--noinput",
            action="store_false",
            dest="interactive",
            help="With --all: do not ask.",
        )
        add(
            "--force",
            action="store_true",
            help="With --all: also when the Config Service is down.",
        )
        add("--dry-run", action="store_true", help="Only tell what would be invalidated.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Invalidate, and report."""
        ids, projects = options["instance_ids"], options["project"]
        _check_usage(ids, projects, options)
        duration = _seconds(options["block"])
        resolver = self.make_resolver()
        outcomes: Iterable[Invalidated | Failure]
        if options["all"]:
            self._make_sure(resolver, options)
            everything = Invalidated("instance", None)
            outcomes = [everything if options["dry_run"] else invalidate_all(resolver)]
        elif duration is not None:
            outcomes = block(resolver, ids, duration, dry_run=options["dry_run"])
        elif options["unblock"]:
            outcomes = unblock(resolver, ids, dry_run=options["dry_run"])
        else:
            outcomes = invalidate(
                resolver, ids, projects, expire=options["expire"], dry_run=options["dry_run"]
            )
        total = len(set(ids)) + len(set(projects)) or 1
        collected = self.collect(outcomes, total=total, lines=options["format"] == "text")
        self._report(collected, options)
        self.leave(collected)

    def _make_sure(self, resolver: InstanceResolver, options: dict[str, Any]) -> None:
        """Leave unless the Config Service is there, and the user says yes where they are asked."""
        listing = Listing(resolver)
        if not options["force"]:
            next(iter(listing), None)
        if listing.failure and listing.has_no_list:
            self.stderr.write(f"{listing.failure.message} The command goes on without it.")
        elif listing.failure:
            self._report(Collected[Invalidated](list_failure=listing.failure), options)
            raise list_error(listing.failure, _DOWN)
        if options["interactive"] and not options["dry_run"] and not self._confirmed():
            raise CommandError(
                "Not confirmed: nothing was invalidated. (--no-input does not ask.)",
                returncode=Exit.USAGE,
            )

    def _confirmed(self) -> bool:
        # Not as input()'s own prompt: that goes to standard output.
        self.stderr.write(_QUESTION, str, ending="")
        self.stderr.flush()
        try:
            return input() == "yes"
        except EOFError:
            return False

    def _report(self, collected: Collected[Invalidated], options: dict[str, Any]) -> None:
        done = collected.done
        if options["format"] == "text":
            for outcome in done:
                self.say(_line(outcome, options))
            return
        self.say_json(
            {
                "action": _action(options),
                "dry_run": options["dry_run"],
                "instances": [one.as_dict() for one in done if one.kind == "instance"],
                "projects": [one.as_dict() for one in done if one.kind == "project"],
                **collected.as_dict(),
            }
        )


def _check_usage(ids: list[str], projects: list[str], options: dict[str, Any]) -> None:
    problem = None
    by_name = [f"--{name}" for name in ("expire", "block", "unblock") if options[name]]
    if len(by_name) > 1:
        problem = f"Only one of {' and '.join(by_name)} at a time."
    elif options["all"] and (ids or projects):
        problem = "Either name instances and projects, or give --all."
    elif options["all"] and options["expire"]:
        problem = (
            "--expire is for instances by name; there is no mark that makes all of them stale."
        )
    elif options["all"] and by_name:
        problem = f"{by_name[0]} is for instances by name."
    elif by_name and projects and not options["expire"]:
        problem = f"{by_name[0]} is for instances; a --project is answered with its instance."
    elif options["expire"] and projects:
        problem = "--expire is for instances; what is known of a --project can be forgotten only."
    elif not (ids or projects or options["all"]):
        problem = "Name instances, a --project, or --all."
    if problem:
        raise CommandError(problem, returncode=Exit.USAGE)


def _line(outcome: Invalidated, options: dict[str, Any]) -> str:
    action = _action(options)
    what = f"{outcome.kind} {printable(outcome.id)}" if outcome.id else "all instances and projects"
    until = f" until {moment(outcome.blocked_until)}" if outcome.blocked_until else ""
    if options["dry_run"]:
        return f"Would {action} {what}{until}."
    known = {True: " (was cached)", False: " (was not cached)", None: ""}[outcome.was_cached]
    if outcome.was_blocked is False:
        known = " (was not blocked)"
    return f"{_DONE[action]} {what}{until}{known}."


def _action(options: dict[str, Any]) -> str:
    if options["block"] is not None:
        return "block"
    return next((name for name in ("unblock", "expire") if options[name]), "invalidate")


def _seconds(text: Any) -> float | None:
    """Return the seconds of ``--block``, ``None`` where it is not given; leave if it is wrong."""
    if text is None:
        return None
    try:
        return seconds_of(parse_duration(str(text)))
    except ValueError as exc:
        raise CommandError(f"--block: {exc}", returncode=Exit.USAGE) from exc
