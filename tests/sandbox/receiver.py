"""A receiver of webhooks, told by a test what to answer; another library checks the signatures."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import defaultdict, deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from standardwebhooks import Webhook

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD_SECRET = f"whsec_{b64encode(b'the old secret of the tests 1').decode()}"
SECRET = f"whsec_{b64encode(b'the secret of the tests, 24+').decode()}"


class Delivered(NamedTuple):
    """A delivery whose signature was right."""

    webhook_id: str
    type: str
    subject_id: str
    at: float
    """By ``monotonic``."""


class Receiver(ThreadingHTTPServer):
    """Takes changes at ``url``: 204, unless ``answers`` has something else for the subject.

    An answer is a status, a status and headers, or an event: then it waits for that.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answers: dict[str, deque[Any]] = defaultdict(deque)
        self.refused: list[str] = []
        """Why signatures were found to be wrong."""
        self._got: list[Delivered] = []
        self._lock = Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/hook/"

    def got(self, *subjects: str) -> list[Delivered]:
        """Return what came for these subjects, in its order."""
        with self._lock:
            return [each for each in self._got if each.subject_id in subjects]

    def wait(self, number: int, *subjects: str) -> list[Delivered]:
        """Wait until that many deliveries came, and return them."""
        wait_until(lambda: len(self.got(*subjects)) >= number)
        return self.got(*subjects)

    def take(self, body: bytes, headers: dict[str, str]) -> Any:
        """Keep a delivery, and return the answer to it."""
        try:
            content = Webhook(SECRET).verify(body, headers)
            data = content["data"]
            [subject_id] = data.values()
        except Exception as exc:  # noqa: BLE001  # whatever it is, a test wants to see it
            self.refused.append(repr(exc))
            return 400
        with self._lock:
            moment = monotonic()
            self._got.append(Delivered(headers["webhook-id"], content["type"], subject_id, moment))
            answers = self.answers[subject_id]
            return answers.popleft() if answers else 204


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.take(body, headers)
        if isinstance(answer, Event):
            answer.wait(30)
            answer = 204
        status, more = answer if isinstance(answer, tuple) else (answer, {})
        try:
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
        except OSError:
            pass  # the sender did not wait

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """Run a receiver, on a free port if none is named, while the block runs."""
    with Receiver(port) as receiver:
        thread = Thread(target=receiver.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()
    assert receiver.refused == []


def told(*receivers: Receiver | str) -> str:
    """Return the variable of the service that names these receivers."""
    urls = [each if isinstance(each, str) else each.url for each in receivers]
    return json.dumps({url: [OLD_SECRET, SECRET] for url in urls})
