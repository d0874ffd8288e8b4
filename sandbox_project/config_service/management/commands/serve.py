"""``manage.py serve``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.core.servers.basehttp import get_internal_wsgi_application

from config_service.server import serve, stop_with_parent

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Bring the database up to date and serve."""

    help = "Serve the Config Service on 127.0.0.1 until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--port", type=int, default=8001, help="0 takes a free one.")
        parser.add_argument("--seed", action="store_true", help="Run seed_config_service first.")
        parser.add_argument(
            "--stop-with-parent", action="store_true", help="Stop when standard input ends."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until told to stop."""
        call_command("migrate", verbosity=0)
        if options["seed"]:
            call_command("seed_config_service", verbosity=0)
        if options["stop_with_parent"]:
            stop_with_parent()
        try:
            serve(get_internal_wsgi_application(), options["port"], self._announce)
        except OSError as exc:
            raise CommandError(f"Cannot listen on port {options['port']}: {exc.strerror}.") from exc

    def _announce(self, url: str) -> None:
        self.stdout.write(f"Listening on {url}")
        self.stdout.flush()
