"""``manage.py serve --settings=studio.worker.settings``."""

from __future__ import annotations

from studio.serving import ServeCommand


class Command(ServeCommand):
    """Serve the worker."""

    help = "Serve the worker on 127.0.0.1 until SIGTERM or Ctrl-C."
    default_port = 8002
