"""``manage.py serve``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management import call_command

from studio.serving import ServeCommand

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(ServeCommand):
    """Bring the database up to date and serve."""

    help = "Serve the studio on 127.0.0.1 until SIGTERM or Ctrl-C."
    default_port = 8000

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("--seed", action="store_true", help="Run seed_studio first.")

    def prepare(self, options: dict[str, Any]) -> None:
        """Make the database."""
        database = Path(str(settings.DATABASES["default"]["NAME"]))
        database.parent.mkdir(parents=True, exist_ok=True)
        call_command("migrate", verbosity=0)
        if options["seed"]:
            call_command("seed_studio", verbosity=0)
