"""``manage.py inspect_instance_cache``: see docs/commands.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.core.cache import caches

from instance_lookup.inspection import Inspection, State, Survey, inspect
from instance_lookup.management.base import Collected, InstanceCommand
from instance_lookup.management.table import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.core.management.base import CommandParser


class Command(InstanceCommand):
    """Show what the cache holds, without changing anything."""

    help = (
        "Shows what the cache holds of instances: by default of all that the Config Service lists;"
        " if it does not, of all that the cache itself names, which Redis and Valkey can."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take ids and what to show."""
        super().add_arguments(parser)
        parser.add_argument(
            "--stale",
            action="store_true",
            help="Only stale copies, the one that is purged first at the top.",
        )
        parser.add_argument(
            "--show-config",
            action="store_true",
            help="Show the configurations too, with API keys masked.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Look, and report."""
        ids: list[str] = options["instance_ids"]
        resolver = self.make_resolver()
        survey = None if ids else Survey(resolver)
        collected = self.collect(
            inspect(resolver, ids) if survey is None else survey,
            total=None if survey else len(set(ids)),
            lines=options["format"] == "text",
        )
        instead = ""
        if survey and (failure := survey.listing.failure):
            instead = _instead_of_list(collected, survey, resolver.settings.cache_alias)
            # A list that never was is no error, unless the cache cannot stand in for it.
            if survey.listing.has_no_list and survey.cache_tells is not False:
                self.stderr.write(f"{failure.message} {instead}".strip())
            else:
                collected.list_failure = failure
        self._report(collected, options)
        self.leave(collected, without_list=instead)

    def _report(self, collected: Collected[Inspection], options: dict[str, Any]) -> None:
        found = _soonest_purged(collected.done) if options["stale"] else collected.done
        if options["format"] == "json":
            shown = [one.as_dict(show_config=options["show_config"]) for one in found]
            self.say_json({"instances": shown, **collected.as_dict()})
        elif found:
            self._say_table(found, options)
        elif collected.done:
            self.stderr.write(f"Of {len(collected.done)} instances none has a stale copy.")

    def _say_table(self, found: Sequence[Inspection], options: dict[str, Any]) -> None:
        head, blocks = table(found, detailed=options["verbosity"] > 1)
        self.say(head)
        for lines, one in zip(blocks, found, strict=True):
            for line in lines:
                self.say(line)
            if options["show_config"] and one.config is not None:
                self.say(_pretty(one.config))


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
