"""What the commands share: their arguments, their output, their exit codes."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from instance_lookup import get_resolver
from instance_lookup.exceptions import LookupErrorType
from instance_lookup.management.output import Output
from instance_lookup.management.progress import Progress
from instance_lookup.outcomes import NO_LIST, Failure, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.core.management.base import CommandParser

    from instance_lookup.resolver import InstanceResolver

T = TypeVar("T")

NAMED = 10
"""How many failures the last line names; each has a line of its own anyway."""


class Exit(IntEnum):
    """Exit codes, the same for all commands but ``check_config_service``. 0: all is done."""

    USAGE = 1
    """Nothing was done: wrong options or settings, an unreadable file, not confirmed."""
    SOME_FAILED = 2
    """Some ids failed; each has a line that says why. Of ``instance_lookup_status``: the site is
    unhealthy. Of ``explain_instance_lookup``: the user gets no instance."""
    CACHE = 3
    """The cache could not be written to, or could not be read."""
    LIST = 4
    """The Config Service did not list its instances, or not to the end; or it has no list, and the
    command needs one."""
    INTERRUPTED = 130
    """Interrupted by Ctrl-C. What was done so far is reported."""


@dataclass
class Collected(Generic[T]):
    """The results of a command so far."""

    done: list[T] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    list_failure: Failure | None = None
    """Why there is no list of the instances, or not all of it."""
    interrupted: bool = False
    """Whether Ctrl-C ended it."""

    def add(self, outcome: T | Failure) -> None:
        """Note one more result."""
        if isinstance(outcome, Failure):
            self.failures.append(outcome)
        else:
            self.done.append(outcome)

    def as_dict(self) -> dict[str, Any]:
        """Return the failures as dicts for JSON."""
        return {
            "failed": [failure.as_dict() for failure in self.failures],
            "list_error": self.list_failure.as_dict() if self.list_failure else None,
            "interrupted": self.interrupted,
        }


class InstanceCommand(BaseCommand):
    """Base of the commands."""

    # They import the URLconf and look at the whole site: after a mistake anywhere in it no tenant
    # could be revoked. Our own settings are checked when the resolver is made.
    requires_system_checks = ()
    takes_ids = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stdout = Output(kwargs.get("stdout") or sys.stdout)
        style, self.stderr = self.stderr.style_func, Output(kwargs.get("stderr") or sys.stderr)
        self.stderr.style_func = style

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return Django's parser, which exits with 1 for a mistyped option.

        Argparse's 2 means here that some ids failed. ``prog_name`` is the program (``manage.py``),
        ``subcommand`` this command; ``kwargs`` are argparse's own.
        """
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        leave = parser.exit
        parser.exit = lambda status=0, message=None: leave(min(status, Exit.USAGE), message)  # type: ignore[method-assign]
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments for ids and the format."""
        if self.takes_ids:
            parser.add_argument("instance_ids", nargs="*", metavar="ID", help="Id of an instance.")
        self.add_format(parser)

    def add_format(self, parser: CommandParser) -> None:
        """Add the argument for the format."""
        parser.add_argument(
            "--format",
            choices=("text", "json"),
            default="text",
            help="json: one object on standard output, and nothing else.",
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Exit without a traceback on Ctrl-C."""
        try:
            return super().execute(*args, **options)
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=Exit.INTERRUPTED) from None
        finally:
            self.stdout.flush()  # not when Python exits, which complains of a reader that has gone

    def make_resolver(self, **options: Any) -> InstanceResolver:
        """Return the resolver to work with, or exit if the settings are wrong."""
        try:
            resolver = get_resolver(**options)
            alias = resolver.settings.cache_alias
            cache = caches[alias]
        except ImproperlyConfigured as exc:
            raise CommandError(str(exc), returncode=Exit.USAGE) from exc
        if isinstance(cache, LocMemCache):
            self.stderr.write(
                f"The cache {alias!r} is in the memory of each process (LocMemCache):"
                " this command reaches its own only, not that of the site.",
                self.style.WARNING,
            )
        self._resolver = resolver
        self._unpublished = resolver.get_cache_stats().unpublished
        return resolver

    def collect(
        self,
        outcomes: Iterable[T | Failure],
        *,
        total: int | Callable[[], int] | None,
        lines: bool,
    ) -> Collected[T]:
        """Gather the ``outcomes`` and show how far it is; with ``lines``, one for each failure.

        ``total`` is how many are expected, or returns that as of now; ``None``: not known, so they
        are only counted. Ctrl-C ends it; what is under way is left to threads that are not waited
        for.
        """
        collected = Collected[T]()
        done, failures = collected.done, collected.failures
        progress = Progress(self.stderr, total)
        try:
            for outcome in outcomes:
                collected.add(outcome)
                if isinstance(outcome, Failure):
                    progress.clear()
                    if lines:
                        self.stderr.write(str(outcome))
                progress.draw(len(done) + len(failures), len(failures))
        except KeyboardInterrupt:
            collected.interrupted = True
        progress.clear()
        return collected

    def say(self, text: str, ending: str = "\n") -> None:
        """Print to standard output, whichever characters its encoding knows."""
        encoding = getattr(self.stdout, "encoding", None) or "utf-8"
        self.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding), ending=ending)

    def say_json(self, document: dict[str, Any]) -> None:
        """Print the one object of ``--format json``."""
        self.stdout.write(json.dumps(document, indent=2))

    def leave(
        self,
        collected: Collected[T],
        *,
        cache_code: Exit = Exit.CACHE,
        without_list: str = "",
    ) -> None:
        """Raise ``CommandError`` with the exit code for what was ``collected``, unless that is 0.

        ``cache_code`` is the one for a cache that failed. ``without_list`` is said beside why there
        is no list of instances, or not all of it: what that means, and what to do.
        """
        self._tell_unpublished()
        failures = collected.failures
        if collected.interrupted:
            raise CommandError("Interrupted.", returncode=Exit.INTERRUPTED)
        if collected.list_failure:
            raise list_error(collected.list_failure, without_list)
        if failures:
            cache = any(failure.error == LookupErrorType.CACHE_ERROR for failure in failures)
            total = len(failures) + len(collected.done)
            raise CommandError(
                f"{len(failures)} of {total} failed: {_names(failures)}.",
                returncode=cache_code if cache else Exit.SOME_FAILED,
            )

    def _tell_unpublished(self) -> None:
        """Say what it means where other processes could not be told. It is no failure."""
        settings = self._resolver.settings
        if self._resolver.get_cache_stats().unpublished > self._unpublished:
            self.stderr.write(
                "The cache has the change, but other processes could not be told about it: they may"
                f" serve what they have in memory for {settings.near_cache_ttl:g} s more"
                " (NEAR_CACHE_TTL). Check that the user of"
                f" CACHES[{settings.cache_alias!r}] may PUBLISH.",
                self.style.WARNING,
            )


def list_error(failure: Failure, consequence: str = "") -> CommandError:
    """Return the error for a Config Service that does not list its instances."""
    why = printable(f"{failure.error}, {failure.reason}" if failure.reason else failure.error)
    message = f"The Config Service did not list its instances ({why})."
    if failure.reason == NO_LIST:
        message = failure.message
    return CommandError(f"{message} {consequence}".strip(), returncode=Exit.LIST)


def _names(failures: list[Failure]) -> str:
    names = ", ".join(failure.name for failure in failures[:NAMED])
    more = len(failures) - NAMED
    return f"{names} and {more} more" if more > 0 else names
