"""A worker: a server of its own that takes jobs from clients who have a key. It needs no Django."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Worker(ThreadingHTTPServer):
    """A worker: takes ``POST /jobs`` on a free port. ``customers`` maps keys to names."""

    def __init__(self, customers: Mapping[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.customers = customers
        self.url = f"http://127.0.0.1:{self.server_port}/jobs"


class Handler(BaseHTTPRequestHandler):
    server: Worker

    def do_POST(self) -> None:
        """Do ``{"task": …}`` at once, and say whose key it was."""
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        customer = self.server.customers.get(key)
        if scheme.lower() != "bearer" or customer is None:
            return self.answer(401, {"error": "No such key."})
        try:
            task = dict(json.loads(body)).get("task")
        except (TypeError, ValueError):
            task = None
        if not isinstance(task, str):
            return self.answer(400, {"error": 'Send {"task": "what to do"}.'})
        return self.answer(200, {"customer": customer, "result": f"{task}: done"})

    def answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Log nothing: the demo prints a story on this terminal."""
