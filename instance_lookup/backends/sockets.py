"""Sockets whose timeout is a deadline: how they connect, and find the end of an answer."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from time import monotonic
from typing import TYPE_CHECKING, Any

from instance_lookup.concurrency import pools

if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import BufferedReader

    from instance_lookup.resilience.deadline import Deadline

SocketOption = tuple[int, int, int | bytes]

_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
_INTERIM_BYTES = 65_536


class DeadlineSocket(socket.socket):
    """A socket whose timeout bounds everything until the next ``settimeout``, not one call."""

    received = 0
    """Bytes received so far. 0: nothing was ever answered on this connection."""
    heard_at = 0.0
    """When the last of them came, by the monotonic clock."""
    surplus = False
    """More bytes than the answer has arrived: the connection cannot be used again."""
    _until: float | None = 0.0
    """``None``: nothing waits."""

    def settimeout(self, value: float | None) -> None:
        """Set the time, ``value`` seconds from now, by which all later calls must end."""
        if value is None or value <= 0:  # None would mean for ever, and 0 not to wait
            raise TimeoutError("timed out")
        self._until = monotonic() + value
        super().settimeout(value)

    def gettimeout(self) -> float:
        """Return what is left, which TLS asks for when it takes the socket over."""
        return (self._until or 0.0) - monotonic()

    def _rearm(self) -> None:
        if self._until is None:
            return
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        super().settimeout(left)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive within what is left."""
        self._rearm()
        count = super().recv_into(*args, **kwargs)
        self.received += count
        self.heard_at = monotonic()
        return count

    def send(self, *args: Any, **kwargs: Any) -> int:
        """Send within what is left (``SSLSocket.sendall`` calls this once a record)."""
        self._rearm()
        return super().send(*args, **kwargs)

    def break_unless_acknowledged(self, seconds: float) -> None:
        """Have later calls fail if the other side does not acknowledge within about ``seconds``.

        The kernel of the other side acknowledges what is sent, however slow the service is. Where
        it does not, the way is gone: packets are dropped, and no error ever comes back. Only Linux
        can be told; elsewhere this does nothing.
        """
        if _USER_TIMEOUT is not None:
            self.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, int(seconds * 1000) or 1)

    def note_surplus(self, reader: BufferedReader) -> None:
        """Look, without waiting, whether the reader's buffer, TLS or the network hold more."""
        until, self._until = self._until, None
        with suppress(OSError):  # nothing there, or it broke, which shows at the next use
            super().settimeout(0)
            self.surplus = bool(reader.peek(1))
        self._until = until


class DeadlineTLSSocket(DeadlineSocket, ssl.SSLSocket):
    """A :class:`DeadlineSocket` over TLS. OpenSSL bounds the handshake as a whole by itself."""


class FinalResponse(HTTPResponse):
    """A response that skips interim ones (1xx), and notices surplus bytes after its end."""

    fp: BufferedReader

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        """Read from ``sock``. ``args`` and ``kwargs`` are what ``HTTPResponse`` takes as well."""
        super().__init__(sock, *args, **kwargs)
        self._sock: DeadlineSocket = sock

    def _read_status(self) -> tuple[str, int, str]:
        # http.client passes over 100 only, and any number of those (RFC 9110, section 15.2).
        room = _INTERIM_BYTES
        while room > 0:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == 101:
                return version, status, reason
            room -= len("HTTP/1.1 103 ") + len(reason)
            while room > 0 and (header := self.fp.readline(room)).strip():
                room -= len(header)
        raise HTTPException("interim responses without end")

    def _read_next_chunk_size(self) -> int:
        # http.client takes "-1" for a size, and then reads all there is, past every limit.
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            self._close_conn()
            raise HTTPException("a chunk of negative size")
        return size

    def _close_conn(self) -> None:
        self._sock.note_surplus(self.fp)  # bytes after the answer may be in its buffer only
        super()._close_conn()  # type: ignore[misc]


def connect(
    host: str, port: int, deadline: Deadline, options: Iterable[SocketOption]
) -> DeadlineSocket:
    """Connect to the first address of ``host`` that answers at ``port``, by the ``deadline``.

    ``options`` are those of the socket, each as ``setsockopt`` takes them. Each address but the
    last gets half of what is left, so that one that swallows packets (a broken IPv6 route) leaves
    time for the next.
    """
    addresses = _lookup(host, port, deadline)
    error = OSError(f"{host} has no address")
    for place, (family, kind, proto, _, address) in enumerate(addresses, 1):
        share = 1.0 if place == len(addresses) else 0.5
        sock = None
        try:
            sock = DeadlineSocket(family, kind, proto)
            for option in options:
                sock.setsockopt(*option)
            sock.settimeout(deadline.remaining() * share)
            sock.connect(address)
            sock.settimeout(deadline.remaining())
        except OSError as exc:
            error = exc
            if sock is not None:
                sock.close()
        else:
            return sock
    raise error


def _lookup(host: str, port: int, deadline: Deadline) -> list[tuple[Any, ...]]:
    # It cannot be interrupted: its caller stops waiting, the thread stays until it returns.
    found = pools.names.submit(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
    try:
        return found.result(deadline.remaining())
    finally:
        found.cancel()  # if it is still queued: no caller waits for it any more
