"""The command that serves a site; each site's ``serve`` prepares what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from config_service.server import serve, stop_with_parent
from django.core.management.base import BaseCommand, CommandError
from django.core.servers.basehttp import get_internal_wsgi_application

if TYPE_CHECKING:
    from argparse import ArgumentParser


class ServeCommand(BaseCommand):
    """Serve a site on loopback."""

    default_port: ClassVar[int]

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--port", type=int, default=self.default_port, help="0: a free one.")
        parser.add_argument(
            "--stop-with-parent", action="store_true", help="Stop when standard input ends."
        )

    def prepare(self, options: dict[str, Any]) -> None:
        """Do what has to be done before the first request."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until told to stop."""
        self.prepare(options)
        if options["stop_with_parent"]:
            stop_with_parent()
        try:
            serve(get_internal_wsgi_application(), options["port"], self._announce)
        except OSError as exc:
            raise CommandError(f"Cannot listen on port {options['port']}: {exc.strerror}.") from exc

    def _announce(self, url: str) -> None:
        self.stdout.write(f"Listening on {url}")
        self.stdout.flush()
