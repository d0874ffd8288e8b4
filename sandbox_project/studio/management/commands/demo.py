"""``manage.py demo``."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Any, Final

import requests
from demo import Step, differences, log_in, perform, put_back, story
from django.core.management.base import BaseCommand, CommandError
from sandbox import RedisAway, Refused, start
from server.process import signals_handled_by

from studio import people

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from demo import Cast
    from sandbox import Sandbox

INTERRUPTED: Final = 130
ROW: Final = "{:>2}  {:<40} {:<15} {:>6} {:<11} {:>5} {:>8}  {}"
HEAD: Final = f"""
source: where the studio had the configuration from.
calls: requests that the Config Service answered; 0: it was not asked, or is away.

{ROW.format("#", "step", "expected", "status", "source", "calls", "latency", "").rstrip()}"""
ADDRESSES: Final = f"""
Studio          {{studio}}/
Config Service  {{service}}/admin/config_service/switches/   (down, slow, faulty)
By hand         {{studio}}/naive/studio-b/   (as neighbour, then as stranger)
Worker          {{worker}}/jobs

Log-ins, all with the password {people.PASSWORD!r}:
{{people}}
  admin is also the log-in of the Config Service.

A job for the worker of studio-a:
  curl -H 'Authorization: Token {people.OWNER.token}' -d task=lighthouse {{studio}}/api/jobs/

Ctrl-C stops everything and removes its files."""


class Command(BaseCommand):
    """Start a worker, a Config Service and the studio, and tell them the story."""

    help = (
        "Start a worker, a Config Service and a site that uses instance_lookup, tell a story of "
        "requests against them, and check that each is answered as it should be."
    )
    # The servers check themselves when they start; here nothing is served and no database is there.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--serve",
            action="store_true",
            help="Afterwards put everything back and leave the servers running until Ctrl-C.",
        )
        parser.add_argument(
            "--redis",
            metavar="URL",
            default=os.environ.get("REDIS_URL") or None,
            help="Keep the cache in this Redis or Valkey (or REDIS_URL); else in the process.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        # So that every `finally` has its turn, whatever the signal.
        with signals_handled_by(signal.default_int_handler):
            try:
                failed = self._run(options["redis"], serve=options["serve"])
            except KeyboardInterrupt:
                raise CommandError("Interrupted.", returncode=INTERRUPTED) from None
            except (RedisAway, RuntimeError, Refused, requests.RequestException) as exc:
                raise CommandError(f"The demo cannot go on: {exc}") from exc
        if failed:
            raise CommandError(failed)

    def _run(self, redis_url: str | None, *, serve: bool) -> str:
        """Do all of it, and return what went wrong."""
        where = "in Redis" if redis_url else "in the process"
        self._say(f"Starting worker, Config Service and studio (cache {where}) ...")
        with start(redis_url) as sandbox, log_in(sandbox) as cast:
            failed = self._tell(sandbox, cast)
            if serve:
                put_back(sandbox, cast)
                self._say(addresses(sandbox))
                # Ctrl-C is the way to end this.
                with suppress(KeyboardInterrupt):
                    Event().wait()
        return failed

    def _tell(self, sandbox: Sandbox, cast: Cast) -> str:
        """Tell the story step by step, and return what went wrong."""
        self._say(HEAD)
        steps = failed = 0
        for scene in story(sandbox, cast):
            if not isinstance(scene, Step):
                self._say("\n" + self.style.MIGRATE_HEADING(scene))
                continue
            steps += 1
            seen = perform(scene, sandbox.service_calls)
            wrong = differences(scene, seen)
            failed += bool(wrong)
            verdict = self.style.ERROR("WRONG") if wrong else self.style.SUCCESS("ok")
            took, source = f"{seen.milliseconds:.0f} ms", seen.source or "-"
            cells = (scene.title, scene.expected, seen.status, source, seen.calls, took)
            self._say(ROW.format(steps, *cells, verdict))
            for line in wrong:
                self._say(self.style.ERROR(f"     {line}"))
        if failed:
            words = f"{failed} of {steps} steps went wrong."
            self._say("\n" + self.style.ERROR(words))
            return words
        self._say("\n" + self.style.SUCCESS(f"All {steps} steps did what they should."))
        return ""

    def _say(self, text: str) -> None:
        """Write at once: people who watch should see the story happen."""
        self.stdout.write(text)
        self.stdout.flush()


def addresses(sandbox: Sandbox) -> str:
    return ADDRESSES.format(
        studio=sandbox.studio.url,
        service=sandbox.service.url,
        worker=sandbox.worker.url,
        people="\n".join(f"  {person.name:<10} {person.about}" for person in people.PEOPLE),
    )
