"""A Config Service with an event stream, on real sockets, that does what the test tells it."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from select import select
from typing import TYPE_CHECKING, Any, Self

from tests.support.servers import Answer, Fault, ScriptedServer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import socket
    import ssl

    from tests.support.servers import Received, Script

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
HEARTBEAT = b": heartbeat\n"


def event(event_id: str | None, event_type: str, **data: str) -> bytes:
    """Return one event as it goes over the wire."""
    body = json.dumps({"type": event_type, "timestamp": "2026-01-31T09:30:00Z", "data": data})
    return (f"id: {event_id}\n" if event_id else "").encode() + f"data: {body}\n\n".encode()


class OpenStream:
    """One connection to the stream."""

    def __init__(self, request: Received, *, chunked: bool) -> None:
        self.request = request
        self.last_id: str | None = request.headers["Last-Event-ID"]
        self.has_ended = threading.Event()
        """Whether the client has gone, or we have ended it."""
        self._chunked = chunked
        self._sock: socket.socket | None = None
        self._is_up = threading.Event()

    def send(self, data: bytes) -> None:
        self._is_up.wait(30)
        assert self._sock is not None
        with suppress(OSError):  # the client has gone
            self._sock.sendall(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        self.has_ended.set()

    def play(self, sock: socket.socket, stopped: threading.Event) -> None:
        framing = b"Transfer-Encoding: chunked" if self._chunked else b"Connection: close"
        sock.sendall(HEAD + framing + b"\r\n\r\n")
        self._sock = sock
        self._is_up.set()
        while not stopped.is_set() and not self.has_ended.is_set():
            if select([sock], [], [], 0.02)[0]:  # a client sends nothing more: it has gone
                break
        self.has_ended.set()


class StreamServer:
    """Answers for each instance with another version, and sends what it is told to.

    Each event has a number. A client that names one gets those that came after it.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.version = 1
        self.chunked = True
        self.greeting = HEARTBEAT
        self.answers: list[Script] = []
        """Given in place of streams, one a request."""
        self.streams: list[OpenStream] = []
        self.sent: list[tuple[str, bytes]] = []
        self._tls = tls
        self._lock = threading.Lock()
        self._server = self._make(0)
        self.url = self._server.url

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.stop()

    def start_again(self) -> None:
        """Come back on the same port."""
        self._server = self._make(self._server.port)
        self._server.__enter__()

    @property
    def asked(self) -> int:
        """How often the stream was asked for."""
        return sum(each.path.startswith("/stream") for each in self._server.received)

    @property
    def documents(self) -> int:
        """How often a configuration was asked for."""
        return sum(each.path.startswith("/instances/") for each in self._server.received)

    @property
    def received(self) -> list[Received]:
        return [each for each in self._server.received if each.path.startswith("/stream")]

    def open_streams(self) -> list[OpenStream]:
        return [each for each in self.streams if not each.has_ended.is_set()]

    def opened(self, number: int = 1) -> OpenStream:
        """Wait until the stream was opened so often, and return the last one."""
        wait_until(lambda: len(self.streams) >= number)
        return self.streams[number - 1]

    def change(self, event_type: str = "instance.updated", **data: str) -> None:
        """Change all instances, and tell of one."""
        with self._lock:
            self.version += 1
            number = str(len(self.sent) + 1)
            self.sent.append((number, event(number, event_type, **data or {"instance_id": "acme"})))
            for each in self.open_streams():
                each.send(self.sent[-1][1])

    def _make(self, port: int) -> ScriptedServer:
        return ScriptedServer(self._answer, port=port, tls=self._tls)

    def _answer(self, request: Received) -> Script:
        if not request.path.startswith("/stream"):
            return self._document(request.path.rpartition("/")[2])
        if self.answers:
            return self.answers.pop(0)
        stream = OpenStream(request, chunked=self.chunked)
        threading.Thread(target=self._begin, args=[stream], daemon=True).start()
        return Fault(stream.play)

    def _begin(self, stream: OpenStream) -> None:
        with self._lock:
            stream.send(self.greeting)
            missed = int(stream.last_id) if stream.last_id else len(self.sent)
            for _, missing in self.sent[missed:]:
                stream.send(missing)
            self.streams.append(stream)

    def _document(self, instance_id: str) -> Answer:
        body: dict[str, Any] = {"instance_id": instance_id, "r2_bucket": f"v{self.version}"}
        body["features"] = {"open": True}
        return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})
