"""Real HTTP servers on real sockets that answer by a script, well or badly."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import parse_headers
from typing import TYPE_CHECKING, BinaryIO, Self

if TYPE_CHECKING:
    import ssl
    from email.message import Message


@dataclass(frozen=True)
class Received:
    """A request as it came in: ``method``, ``path`` with its query string, ``headers``.

    The headers are case-insensitive; a missing one is ``None``. ``connection`` says on which one it
    came, counted from 1, and so whether one was reused.
    """

    method: str
    path: str
    headers: Message
    connection: int


@dataclass(frozen=True)
class Answer:
    """A proper HTTP answer with this ``status`` and ``body``, ``delay`` seconds after the request.

    ``Content-Length`` is added to the ``headers``, unless they have one.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass(frozen=True)
class Fault:
    """Anything else that can happen on the wire: ``play(connection, stopped)`` does it.

    That is ``delay`` seconds after the request. The connection is closed afterwards.
    """

    play: Callable[[socket.socket, threading.Event], None]
    delay: float = 0.0


Script = Answer | Fault
Answers = Script | Mapping[str, Script] | Callable[[Received], Script]


class ScriptedServer:
    """Serve HTTP/1.1 with keep-alive, a thread for each connection.

    ``answers`` is one script for all requests, scripts by path (404 elsewhere), or a function of
    the request; it may be replaced while the server runs. It listens on ``port`` (0: a free one)
    of the address ``host``, IPv4 or IPv6; with ``tls``, the context of a server, it speaks HTTPS.
    ``on_connect`` is played instead of reading anything, below TLS.
    """

    def __init__(
        self,
        answers: Answers = Answer(404),
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        on_connect: Fault | None = None,
    ) -> None:
        self.answers = answers
        self.received: list[Received] = []
        self._tls = tls
        self._on_connect = on_connect
        self._stopped = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=128)
        self.port: int = self._listener.getsockname()[1]
        netloc = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{netloc}"

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        return len(self._sockets)

    @property
    def open_connections(self) -> int:
        """How many of them are still open at this end."""
        return sum(sock.fileno() != -1 for sock in self._sockets)

    def stop(self) -> None:
        """Close the port and every connection, and wait for the threads."""
        self._stopped.set()
        for sock in [self._listener, *self._sockets]:
            with suppress(OSError):
                # close() does not wake a thread that is blocked in accept() or recv(); and
                # SSLSocket's own shutdown() would take the TLS state from under it.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=5)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._sockets.append(sock)
                self._spawn(self._serve, sock, len(self._sockets))

    def _serve(self, sock: socket.socket, number: int) -> None:
        with suppress(OSError), sock:  # OSError: the client has gone, or refuses our certificate
            if self._on_connect:
                self._on_connect.play(sock, self._stopped)
            elif self._tls:
                sock.getpeername()  # of a client that has gone, Python may leave what it wraps open
                with self._tls.wrap_socket(
                    sock, server_side=True, do_handshake_on_connect=False
                ) as secured:
                    self._sockets[number - 1] = secured
                    secured.do_handshake()
                    self._converse(secured, number)
            else:
                self._converse(sock, number)

    def _converse(self, sock: socket.socket, number: int) -> None:
        with sock.makefile("rb") as lines:
            while request := _read_request(lines, number):
                self.received.append(request)
                script = self._script(request)
                self._stopped.wait(script.delay)
                if isinstance(script, Fault):
                    script.play(sock, self._stopped)
                    return
                sock.sendall(encode(script))

    def _script(self, request: Received) -> Script:
        if isinstance(self.answers, Mapping):
            return self.answers.get(request.path, Answer(404))
        if callable(self.answers):
            return self.answers(request)
        return self.answers


def _read_request(lines: BinaryIO, number: int) -> Received | None:
    first = lines.readline().decode("latin-1").split()
    if len(first) != 3:  # nothing: the client has gone
        return None
    return Received(first[0], first[1], parse_headers(lines), number)


def encode(answer: Answer) -> bytes:
    """Return the bytes of an answer; its own headers win over ``Content-Length``."""
    headers = {"Content-Length": str(len(answer.body)), **answer.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status} Scripted\r\n{head}\r\n".encode("latin-1") + answer.body


def send(data: bytes) -> Fault:
    """Send these bytes, then close."""
    return Fault(lambda sock, stopped: sock.sendall(data))


def drip(data: bytes, *, first: bytes = b"", interval: float = 0.05) -> Fault:
    """Send ``first`` at once, then ``data`` one byte every ``interval`` seconds."""

    def play(sock: socket.socket, stopped: threading.Event) -> None:
        sock.sendall(first)
        for byte in data:
            if stopped.wait(interval):
                return
            sock.sendall(bytes([byte]))

    return Fault(play)


def drip_headers() -> Fault:
    """Send a status line, then an endless header, byte by byte."""
    return drip(b"X-Slow: " + b"x" * 1000, first=b"HTTP/1.1 200 OK\r\n")


def drip_body() -> Fault:
    """Headers at once, the body byte by byte."""
    return drip(b"x" * 1000, first=b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")


def mute() -> Fault:
    """Say nothing until the server is stopped."""

    def play(sock: socket.socket, stopped: threading.Event) -> None:
        stopped.wait()

    return Fault(play)


def reset() -> Fault:
    """Drop the connection with a TCP reset."""

    def play(sock: socket.socket, stopped: threading.Event) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return Fault(play)


def truncated(body: bytes) -> Fault:
    """Promise twice the body, send it once, close."""
    return send(encode(Answer(200, body, {"Content-Length": str(2 * len(body))})))


def redirect(location: str, status: int = 302) -> Answer:
    """Send the client elsewhere."""
    return Answer(status, headers={"Location": location})
