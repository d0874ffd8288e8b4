"""``manage.py inspect_instance_cache``: see docs/commands.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from instance_lookup.inspection import Inspection, inspect
from instance_lookup.management.base import Collected, InstanceCommand
from instance_lookup.outcomes import Listing, printable

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

HEAD = (
    "INSTANCE",
    "STATE",
    "AGE",
    "TTL LEFT",
    "PURGED IN",
    "BYTES",
    "OWNER",
    "API KEYS",
    "ID FROM",
    "GENERATION",
)


class Command(InstanceCommand):
    """Show what the cache holds, without changing anything."""

    help = (
        "Shows what the cache holds of instances: by default of all that the Config Service lists."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take ids and what to show."""
        super().add_arguments(parser)
        parser.add_argument(
            "--show-config",
            action="store_true",
            help="Show the configurations too, with API keys masked.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Look, and report."""
        ids: list[str] = options["instance_ids"]
        resolver = self.make_resolver()
        listing = None if ids else Listing(resolver)
        collected = self.collect(
            inspect(resolver, ids if listing is None else listing),
            total=None if listing else len(set(ids)),
            lines=options["format"] == "text",
        )
        collected.list_failure = listing.failure if listing else None
        source = "list" if listing else "argument"
        show_config = options["show_config"]
        if options["format"] == "json":
            found = [
                {**one.as_dict(show_config=show_config), "id_from": source}
                for one in collected.done
            ]
            self.say_json({"instances": found, **collected.as_dict()})
        elif collected.done:
            self._say_table(collected, source, show_config=show_config)
        self.leave(collected)

    def _say_table(
        self, collected: Collected[Inspection], source: str, *, show_config: bool
    ) -> None:
        rows = [HEAD, *(_row(one, source) for one in collected.done)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        self.say(lines[0])
        for line, one in zip(lines[1:], collected.done, strict=True):
            self.say(f"{line}  ({one.note})" if one.note else line)
            if show_config and one.config is not None:
                self.say(_pretty(one.config))


def _row(one: Inspection, source: str) -> tuple[str, ...]:
    return (
        printable(one.instance_id),
        one.state,
        _seconds(one.age),
        _seconds(one.ttl_left),
        _seconds(one.purged_in),
        "-" if one.size is None else str(one.size),
        printable(one.owner or "-"),
        printable(", ".join(one.api_keys) or "-"),
        source,
        one.generation or "-",
    )


def _pretty(config: dict[str, Any]) -> str:
    """Return JSON for a terminal: JSON itself leaves some control characters as they are."""
    text = json.dumps(config, indent=2, ensure_ascii=False)
    return text if text.replace("\n", "").isprintable() else json.dumps(config, indent=2)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} s"
