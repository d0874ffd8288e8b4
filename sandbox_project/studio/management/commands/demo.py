"""``manage.py demo``."""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack, suppress
from threading import Event
from typing import TYPE_CHECKING, Any

import requests
from config_service.remote import FormRefused
from django.core.management.base import BaseCommand, CommandError

from studio.demo import interrupts, servers
from studio.demo.redis import RedisAway, keys_removed
from studio.demo.report import Report
from studio.demo.steps import Step, differences, perform
from studio.demo.story import log_in, put_back, story

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from studio.demo.clients import Cast
    from studio.demo.servers import Sandbox

INTERRUPTED = 130


class Command(BaseCommand):
    """Start a worker, a Config Service and the studio, and tell them the story."""

    help = (
        "Start a worker, a Config Service and a site that uses instance_lookup, tell a story of "
        "requests against them, and check that each is answered as it should be."
    )
    # The servers check themselves when they start; here nothing is served and no database is there.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
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
        """Tell the story; the exit code says whether it went as it should."""
        report = Report(self.stdout, self.style)
        with interrupts.as_keyboard_interrupt():
            try:
                self._run(report, options["redis"], serve=options["serve"])
            except KeyboardInterrupt:
                raise CommandError("Interrupted.", returncode=INTERRUPTED) from None
            except (RedisAway, RuntimeError, FormRefused, requests.RequestException) as exc:
                raise CommandError(f"The demo cannot go on: {exc}") from exc
        if report.failed:
            raise CommandError(f"{report.failed} of {report.steps} steps went wrong.")

    def _run(self, report: Report, redis_url: str | None, *, serve: bool) -> None:
        with ExitStack() as stack:
            where = "in Redis" if redis_url else "in the process"
            report.say(f"Starting worker, Config Service and studio (cache {where}) ...")
            prefix = f"studio-demo-{secrets.token_hex(4)}"
            if redis_url:
                stack.enter_context(keys_removed(redis_url, prefix))
            sandbox = stack.enter_context(servers.start(redis_url, prefix))
            cast = stack.enter_context(log_in(sandbox.studio.url))
            tell(report, sandbox, cast)
            if serve:
                put_back(sandbox, cast)
                report.addresses(sandbox)
                wait_for_interrupt()


def tell(report: Report, sandbox: Sandbox, cast: Cast) -> None:
    """Tell the story step by step, and report each."""
    report.say()
    report.head()
    for scene in story(sandbox, cast):
        if isinstance(scene, Step):
            seen = perform(scene, sandbox.service_calls)
            report.row(scene, seen, differences(scene, seen))
        else:
            report.heading(scene)
    report.end()


def wait_for_interrupt() -> None:
    """Return at Ctrl-C, which is the way to end this."""
    with suppress(KeyboardInterrupt):
        Event().wait()
