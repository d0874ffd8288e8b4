"""A small threaded WSGI server, enough for a sandbox. Nothing here knows the Config Service."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Final

from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

if TYPE_CHECKING:
    from collections.abc import Callable
    from wsgiref.types import WSGIApplication

HOST: Final = "127.0.0.1"


class Server(ThreadedWSGIServer):
    """Django's development server, ready for a burst of connections."""

    request_queue_size = 128


class Handler(WSGIRequestHandler):
    """Django's handler, which sends headers and body in two segments."""

    # Otherwise the body waits 40 ms for the client to acknowledge the headers.
    disable_nagle_algorithm = True


def serve(application: WSGIApplication, port: int, announce: Callable[[str], None]) -> None:
    """Serve on loopback until SIGTERM or Ctrl-C; port 0 takes a free one.

    ``announce`` is called with the address once connections are accepted.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), Server((HOST, port), Handler) as server:
        server.set_app(application)
        announce(f"http://{HOST}:{server.server_port}")
        server.serve_forever()


def stop_with_parent() -> None:
    """Stop when standard input ends: a parent that was killed leaves no server behind."""
    Thread(target=_wait_for_end_of_input, daemon=True).start()


def _wait_for_end_of_input() -> None:
    # Not sys.stdin: a thread inside its lock is fatal to an interpreter that shuts down.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
