"""``manage.py inspect_instance_cache``: see docs/reference/commands.md."""

from __future__ import annotations

import json
import shutil
from time import sleep, strftime
from typing import TYPE_CHECKING, Any

from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import close_old_connections

from instance_lookup.inspection import Inspection, State, Survey, inspect
from instance_lookup.management.base import Collected, Exit, InstanceCommand, list_error
from instance_lookup.management.compared import line_of
from instance_lookup.management.screen import one_screen
from instance_lookup.management.table import table
from instance_lookup.operations.compare import compare
from instance_lookup.outcomes import Listing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.core.management.base import CommandParser

    from instance_lookup.resolver import InstanceResolver

_INTERVAL = 2.0
_SHORTEST, _LONGEST = 0.1, 86_400.0


class Command(InstanceCommand):
    """Show what the cache holds, without changing anything."""

    help = (
        "Shows what the cache holds of instances: by default of all that the Config Service lists;"
        " if it does not, of all that the cache itself names, which Redis and Valkey can."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take ids and what to show."""
        super().add_arguments(parser)
        add = parser.add_argument
        add(
            "--stale",
            action="store_true",
            help="Only stale copies, the one that is purged first at the top.",
        )
        add(
            "--show-config",
            action="store_true",
            help="Show the configurations too, with API keys masked.",
        )
        add(
            "--compare",
            action="store_true",
            help="Ask the Config Service too, and tell which fields differ.",
        )
        add("--watch", action="store_true", help="Look again and again, until Ctrl-C.")
        add(
            "--interval",
            type=float,
            metavar="S",
            help=f"With --watch: seconds between two looks ({_INTERVAL:g}).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Look, and report."""
        _check_usage(options)
        resolver = self.make_resolver()
        if options["compare"]:
            self._compare(resolver, options)
        elif options["watch"]:
            self._watch(resolver, options)
        else:
            self._inspect(resolver, options)

    def _inspect(self, resolver: InstanceResolver, options: dict[str, Any]) -> None:
        ids: list[str] = options["instance_ids"]
        survey = None if ids else Survey(resolver)
        collected = self.collect(
            inspect(resolver, ids) if survey is None else survey,
            total=None if survey else len(set(ids)),
            lines=options["format"] == "text",
        )
        instead, note = _without_list(collected, survey, resolver.settings.cache_alias)
        if note:
            self.stderr.write(note)
        if options["format"] == "json":
            self.say_json(_document(collected, options))
        elif lines := [*_lines(collected, options)]:
            self.say("\n".join(lines))
        elif collected.done:
            self.stderr.write(_summary(collected))
        self.leave(collected, without_list=instead)

    def _watch(self, resolver: InstanceResolver, options: dict[str, Any]) -> None:
        """Show one snapshot after another, until Ctrl-C, or until its reader has gone."""
        while True:
            self._show(resolver, options)
            if getattr(self.stdout, "reader_has_gone", False):
                return
            sleep(options["interval"] or _INTERVAL)

    def _show(self, resolver: InstanceResolver, options: dict[str, Any]) -> None:
        close_old_connections()  # a database that holds the cache may have been restarted
        ids: list[str] = options["instance_ids"]
        survey = None if ids else Survey(resolver)
        collected = Collected[Inspection]()
        for outcome in inspect(resolver, ids) if survey is None else survey:
            collected.add(outcome)
        instead, note = _without_list(collected, survey, resolver.settings.cache_alias)
        if options["format"] == "json":
            self.stdout.write(json.dumps(_document(collected, options)))
        else:
            # All on one stream: what another one shows would be drawn over.
            if failure := collected.list_failure:
                note = str(list_error(failure, instead))
            lines = [f"{strftime('%Y-%m-%d %H:%M:%S %Z')}: {_summary(collected)}"]
            lines += [*_lines(collected, options), *map(str, collected.failures)]
            lines += [note] if note else []
            if self.stdout.isatty():
                columns, rows = shutil.get_terminal_size()
                self.say(one_screen(lines, columns=columns, rows=rows), ending="")
            else:
                self.say("\n".join(lines), ending="\n\n")
        self.stdout.flush()

    def _compare(self, resolver: InstanceResolver, options: dict[str, Any]) -> None:
        ids: list[str] = options["instance_ids"]
        listing = None if ids else Listing(resolver)
        is_text = options["format"] == "text"
        try:
            outcomes = compare(resolver, ids if listing is None else listing)
        except ImproperlyConfigured as exc:
            raise CommandError(str(exc), returncode=Exit.USAGE) from exc
        collected = self.collect(outcomes, total=None if listing else len(set(ids)), lines=is_text)
        if is_text:
            for one in collected.done:
                self.say(line_of(one))
        collected.list_failure = listing.failure if listing else None
        if not is_text:
            compared = [one.as_dict() for one in collected.done]
            self.say_json({"comparisons": compared, **collected.as_dict()})
        self.leave(
            collected, without_list="Name the ids." if listing and listing.has_no_list else ""
        )


def _check_usage(options: dict[str, Any]) -> None:
    problem = None
    interval: float | None = options["interval"]
    for name in ("stale", "show_config", "watch"):
        if options["compare"] and options[name]:
            problem = f"Either --compare or --{name.replace('_', '-')}, not both."
    if interval is not None and not options["watch"]:
        problem = f"--interval {interval:g} is for --watch only."
    elif interval is not None and not _SHORTEST <= interval <= _LONGEST:
        problem = f"--interval must be from {_SHORTEST:g} to {_LONGEST:g} s, not {interval:g}."
    if problem:
        raise CommandError(problem, returncode=Exit.USAGE)


def _document(collected: Collected[Inspection], options: dict[str, Any]) -> dict[str, Any]:
    shown = [one.as_dict(show_config=options["show_config"]) for one in _chosen(collected, options)]
    return {"instances": shown, **collected.as_dict()}


def _lines(collected: Collected[Inspection], options: dict[str, Any]) -> Iterator[str]:
    if not (found := _chosen(collected, options)):
        return
    head, blocks = table(found, detailed=options["verbosity"] > 1)
    yield head
    for lines, one in zip(blocks, found, strict=True):
        yield from lines
        if options["show_config"] and one.config is not None:
            yield from _pretty(one.config).splitlines()


def _chosen(collected: Collected[Inspection], options: dict[str, Any]) -> Sequence[Inspection]:
    return _soonest_purged(collected.done) if options["stale"] else collected.done


def _summary(collected: Collected[Inspection]) -> str:
    stale, total = len(_soonest_purged(collected.done)), len(collected.done)
    said = f"{stale or 'none'} {'have' if stale > 1 else 'has'} a stale copy"
    failed = sum(each.id is not None for each in collected.failures)
    unread = f", {failed} could not be read" if failed else ""
    return f"Of {total + failed} instances {said}{unread}."


def _without_list(
    collected: Collected[Inspection], survey: Survey | None, alias: str
) -> tuple[str, str]:
    """Return what is shown in place of a list, if that is so, and a note where that is no error.

    A list that failed goes into ``collected``.
    """
    if survey is None or (failure := survey.listing.failure) is None:
        return "", ""
    instead = _instead_of_list(collected, survey, alias)
    # A list that never was is no error, unless the cache cannot stand in for it.
    if survey.listing.has_no_list and survey.cache_tells is not False:
        return instead, f"{failure.message} {instead}".strip()
    collected.list_failure = failure
    return instead, ""


def _instead_of_list(collected: Collected[Inspection], survey: Survey, alias: str) -> str:
    """Return what the cache shows in place of a list that failed or is missing."""
    if survey.cache_tells is None:  # it failed, which has a line of its own
        return ""
    if not survey.cache_tells:
        kind = type(caches[alias]).__name__
        return f"The cache {alias!r} ({kind}) cannot tell what it holds: name the ids."
    if collected.done or collected.failures:
        return f"What the cache {alias!r} holds is shown."
    return f"The cache {alias!r} holds none."


def _soonest_purged(found: Sequence[Inspection]) -> list[Inspection]:
    stale = (one for one in found if one.state is State.STALE)
    return sorted(stale, key=lambda one: (one.purged_in or 0.0, one.instance_id))


def _pretty(config: dict[str, Any]) -> str:
    """Return JSON for a terminal: JSON itself leaves some control characters as they are."""
    text = json.dumps(config, indent=2, ensure_ascii=False)
    return text if text.replace("\n", "").isprintable() else json.dumps(config, indent=2)
