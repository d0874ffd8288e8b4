"""``manage.py serve``: a small threaded WSGI server, enough for a sandbox."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from argparse import ArgumentParser

HOST: Final = "127.0.0.1"


class Server(ThreadedWSGIServer):
    """Django's development server, ready for a burst of connections."""

    request_queue_size = 128


class Handler(WSGIRequestHandler):
    """Django's handler, which sends headers and body in two segments."""

    # Otherwise the body waits 40 ms for the client to acknowledge the headers.
    disable_nagle_algorithm = True


class Command(BaseCommand):
    """Bring the site's database up to date and serve.

    ``settings.SERVE_PORT`` is the site's port; ``SERVE_SEED``, if it has a database, the dotted
    path of what seeds it.
    """

    help = "Serve the site on 127.0.0.1 until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        port = settings.SERVE_PORT
        parser.add_argument("--port", type=int, default=port, help="0 takes a free one.")
        if hasattr(settings, "SERVE_SEED"):
            parser.add_argument("--seed", action="store_true", help="Plant what the demo needs.")
        parser.add_argument(
            "--stop-with-parent", action="store_true", help="Stop when standard input ends."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if hasattr(settings, "SERVE_SEED"):
            database = Path(str(settings.DATABASES["default"]["NAME"]))
            database.parent.mkdir(parents=True, exist_ok=True)
            call_command("migrate", verbosity=0)
        if options["stop_with_parent"]:
            Thread(target=stop_at_end_of_input, daemon=True).start()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        # The stylesheets come from here too: a sandbox has no web server in front.
        has_static = apps.is_installed("django.contrib.staticfiles")
        site = get_wsgi_application()
        try:
            if options.get("seed"):
                import_string(settings.SERVE_SEED)()
            with suppress(KeyboardInterrupt), Server((HOST, options["port"]), Handler) as server:
                server.set_app(StaticFilesHandler(site) if has_static else site)
                self.stdout.write(f"Listening on http://{HOST}:{server.server_port}")
                self.stdout.flush()
                server.serve_forever()
        except ValidationError as exc:
            raise CommandError(" ".join(exc.messages)) from exc
        except OSError as exc:
            raise CommandError(f"Cannot listen on port {options['port']}: {exc.strerror}.") from exc


def stop_at_end_of_input() -> None:
    """Stop when the parent is gone: one that was killed leaves no server behind."""
    # Not sys.stdin: a thread inside its lock is fatal to an interpreter that shuts down.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
