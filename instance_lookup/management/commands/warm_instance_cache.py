"""``manage.py warm_instance_cache``: see docs/reference/commands.md."""

from __future__ import annotations

import sys
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from instance_lookup.inspection import StaleOnly
from instance_lookup.management.base import Collected, Exit, InstanceCommand
from instance_lookup.outcomes import Listing, check_id, for_each, parse_ids, printable
from instance_lookup.warming import warm

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.core.management.base import CommandParser

    from instance_lookup.outcomes import Failure
    from instance_lookup.resolver import InstanceResolver


class Command(InstanceCommand):
    """Fetch configurations from the Config Service and store them."""

    help = (
        "Fetches configurations of instances from the Config Service and stores them in the cache."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take ids from three sources, and how to go about it."""
        super().add_arguments(parser)
        add = parser.add_argument
        add("--file", metavar="F", help="Read ids from a file, one a line; - is standard input.")
        add("--all", action="store_true", help="Warm all instances that the Config Service lists.")
        add("--concurrency", type=int, default=8, metavar="N", help="Calls at a time (8).")
        add("--rate", type=float, metavar="N", help="At most N calls a second, all together.")
        add(
            "--stale-only",
            action="store_true",
            help="Only those whose copy in the cache is stale.",
        )
        add("--ttl", type=float, metavar="S", help="Seconds to stay fresh, instead of CACHE_TTL.")
        add("--fail-fast", action="store_true", help="Begin no other after the first failure.")
        add("--dry-run", action="store_true", help="Only tell which would be warmed.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Warm, and report."""
        ids: list[str] = [*options["instance_ids"], *_ids_in_file(options["file"])]
        if not (ids or options["all"] or options["file"]):
            raise CommandError("Name instances, a --file of them, or --all.", returncode=Exit.USAGE)
        ttl = options["ttl"]
        resolver = self.make_resolver(**({} if ttl is None else {"cache_ttl": ttl}))
        listing = Listing(resolver) if options["all"] else None
        named = chain(ids, listing or ())
        stale = StaleOnly(resolver, named) if options["stale_only"] else None
        count = len(set(ids))
        collected = self.collect(
            _outcomes(resolver, named if stale is None else stale, options),
            total=None if listing else lambda: count - (stale.skipped if stale else 0),
            lines=options["format"] == "text",
        )
        collected.list_failure = listing.failure if listing else None
        self._report(collected, stale, options)
        hint = "Name the ids, or give a --file of them." if listing and listing.has_no_list else ""
        # An id that the cache does not keep has failed like any other.
        self.leave(collected, cache_code=Exit.SOME_FAILED, without_list=hint)

    def _report(
        self, collected: Collected[str], stale: StaleOnly | None, options: dict[str, Any]
    ) -> None:
        dry_run = options["dry_run"]
        done = collected.done
        if options["format"] == "json":
            key = "would_warm" if dry_run else "warmed"
            skipped = {"skipped": stale.skipped} if stale else {}
            self.say_json({key: done, **skipped, **collected.as_dict()})
            return
        if dry_run:
            for instance_id in done:
                self.say(printable(instance_id))
        asked = len(done) + len(collected.failures)
        of = f" of {asked}" if collected.failures else ""
        plural = "" if asked == 1 else "s"
        others = f" {stale.skipped} had no stale copy." if stale else ""
        self.say(
            f"{'Would warm' if dry_run else 'Warmed'} {len(done)}{of} instance{plural}.{others}"
        )


def _outcomes(
    resolver: InstanceResolver, ids: Iterable[str] | StaleOnly, options: dict[str, Any]
) -> Iterable[str | Failure]:
    if options["dry_run"]:
        return ids if isinstance(ids, StaleOnly) else for_each(ids, partial(check_id, resolver))
    try:
        return warm(
            resolver,
            ids,
            concurrency=options["concurrency"],
            rate=options["rate"],
            fail_fast=options["fail_fast"],
        )
    except ValueError as exc:
        raise CommandError(f"--{exc}.", returncode=Exit.USAGE) from exc


def _ids_in_file(name: str | None) -> list[str]:
    if name is None:
        return []
    try:
        if name != "-":
            return parse_ids(Path(name).read_bytes())
        if sys.stdin is None:
            raise OSError("standard input is closed")
        return parse_ids(sys.stdin.buffer.read())
    except (OSError, ValueError) as exc:
        raise CommandError(f"Cannot read {name!r}: {exc}.", returncode=Exit.USAGE) from exc
