"""Faults that only our own tests need, and addresses at which no server answers."""

from __future__ import annotations

import ctypes
import gzip
import select
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from instance_lookup.testing.servers import (
    Answer,
    Answers,
    Fault,
    Received,
    Script,
    ScriptedServer,
    drip,
    drip_body,
    drip_headers,
    encode,
    mute,
    redirect,
    reset,
    send,
    truncated,
)
from tests.support.server_process import free_port

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

__all__ = [
    "SLOW",
    "Answer",
    "Answers",
    "Fault",
    "Received",
    "Script",
    "ScriptedServer",
    "black_hole",
    "drip",
    "drip_body",
    "drip_chunks",
    "drip_handshake",
    "drip_headers",
    "drop_packets",
    "encode",
    "endless",
    "free_port",
    "gzip_bomb",
    "linger",
    "mute",
    "once",
    "redirect",
    "reset",
    "send",
    "truncated",
    "tunnel",
]


def drip_chunks() -> Fault:
    """A chunked body whose one-byte chunks come byte by byte."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return drip(b"1\r\nx\r\n" * 200, first=head)


def drip_handshake() -> Fault:
    """The beginning of a long TLS record, byte by byte (for ``on_connect``)."""
    return drip(bytes(1000), first=b"\x16\x03\x03\x40\x00")


def gzip_bomb(megabytes: int = 50) -> Answer:
    """A small body that unpacks to a large one."""
    return Answer(200, gzip.compress(bytes(megabytes << 20)), {"Content-Encoding": "gzip"})


def endless(head: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> Fault:
    """Send ``head`` and then a body that never ends, as fast as it is taken."""

    def play(sock: socket.socket, stopped: threading.Event) -> None:
        sock.sendall(head)
        while not stopped.is_set():
            sock.sendall(b" " * 65536)

    return Fault(play)


def linger(data: bytes) -> Fault:
    """Send these bytes, and leave the connection open."""

    def play(sock: socket.socket, stopped: threading.Event) -> None:
        sock.sendall(data)
        stopped.wait()

    return Fault(play)


def once(first: Script, then: Script) -> Callable[[Received], Script]:
    """Answer the first request of each connection one way, and all that follow another way."""
    seen: set[int] = set()

    def answer(request: Received) -> Script:
        if request.connection in seen:
            return then
        seen.add(request.connection)
        return first

    return answer


def tunnel(
    port: int,
    head: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n",
    *,
    interval: float = 0.0,
) -> Fault:
    """Answer a CONNECT with ``head``, then carry bytes to and from a port of this machine.

    With an ``interval`` the head comes byte by byte, one every so many seconds.
    """

    def play(sock: socket.socket, stopped: threading.Event) -> None:
        for part in [head[i : i + 1] for i in range(len(head))] if interval else [head]:
            stopped.wait(interval)
            sock.sendall(part)
        with socket.create_connection(("127.0.0.1", port)) as origin:
            ends = {sock: origin, origin: sock}
            while not stopped.is_set():
                for end in select.select(list(ends), [], [], 0.05)[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    ends[end].sendall(data)

    return Fault(play)


@contextmanager
def black_hole() -> Iterator[tuple[str, int]]:
    """Yield an address on which a connect neither succeeds nor fails."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        callers = [socket.socket() for _ in range(8)]  # they fill the backlog
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(address)
        try:
            yield address
        finally:
            for caller in callers:
                caller.close()


_SO_ATTACH_FILTER = 26


def drop_packets(server: ScriptedServer) -> None:
    """Have the kernel drop all that comes on the server's connections, as a firewall would.

    Nothing is acknowledged, and no error comes back. New connections are not affected. Linux only.
    """
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: return 0
    program = struct.pack("HL", 1, ctypes.addressof(drop_all))
    for sock in server._sockets:
        if sock.fileno() != -1:
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


SLOW: dict[str, Answer | Fault] = {
    "mute": mute(),
    "headers drip": drip_headers(),
    "body drips": drip_body(),
    "chunks drip": drip_chunks(),
    "answer is late": Answer(200, b"{}", delay=30),
}
"""The ways in which an answer does not end by any deadline."""
