"""``manage.py serve``: a small threaded WSGI server, enough for the two sites of the sandbox."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext, suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from contextlib import AbstractContextManager

HOST: Final = "127.0.0.1"


class Server(ThreadedWSGIServer):
    """Django's development server, ready for a burst of connections."""

    request_queue_size = 128

    def stop_at_end_of_input(self) -> None:
        """Stop when the parent is gone: one that was killed leaves no server behind."""
        # Not sys.stdin: a thread inside its lock is fatal to an interpreter that shuts down.
        while os.read(0, 1024):
            pass
        self.shutdown()


class Handler(WSGIRequestHandler):
    """Django's handler, which sends headers and body in two segments."""

    # Otherwise the body waits 40 ms for the client to acknowledge the headers.
    disable_nagle_algorithm = True


class Command(BaseCommand):
    """Bring the site's database up to date and serve."""

    help = "Serve the site on 127.0.0.1 until SIGTERM or Ctrl-C."
    requires_system_checks = ()  # they open the database, whose folder may have to be made first

    def add_arguments(self, parser: ArgumentParser) -> None:
        port = settings.SERVE_PORT
        parser.add_argument("--port", type=int, default=port, help="0 takes a free one.")
        parser.add_argument("--seed", action="store_true", help="Plant what the demo needs.")
        parser.add_argument(
            "--stop-with-parent", action="store_true", help="Stop when standard input ends."
        )

    def background(self) -> AbstractContextManager[None]:
        """Return what runs beside the server: the sender of a site that has one."""
        if not hasattr(settings, "WEBHOOKS"):
            return nullcontext()
        from config_service.sender import sending  # noqa: PLC0415  # needs the service's models

        return sending()

    def handle(self, *args: Any, **options: Any) -> None:
        settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
        self.check()
        call_command("migrate", run_syncdb=True, verbosity=0)
        if options["seed"]:
            call_command("seed", verbosity=0)
        # The stylesheets come from here too: a sandbox has no web server in front.
        site = StaticFilesHandler(get_wsgi_application())
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with suppress(KeyboardInterrupt), Server((HOST, options["port"]), Handler) as server:
                server.set_app(site)
                if options["stop_with_parent"]:
                    Thread(target=server.stop_at_end_of_input, daemon=True).start()
                self.stdout.write(f"Listening on http://{HOST}:{server.server_port}")
                self.stdout.flush()
                with self.background():
                    server.serve_forever(poll_interval=0.1)
        except OSError as exc:
            raise CommandError(f"Cannot listen on port {options['port']}: {exc.strerror}.") from exc
