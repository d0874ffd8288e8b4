"""HTTP on ``requests`` whose timeout is a deadline.

The timeout of ``requests`` bounds each read, so a server that sends one byte a second holds a
caller for ever, and a host with many addresses gets the timeout once for each. Here it bounds the
whole exchange: name lookup, connect, TLS handshake, headers and body.
"""

from __future__ import annotations

import socket
import ssl
import sys
from http.cookiejar import DefaultCookiePolicy
from time import monotonic
from typing import TYPE_CHECKING, Any

from requests import Session
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from instance_lookup.deadline import Deadline
from instance_lookup.workers import DaemonPool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from requests import PreparedRequest, Response

SocketOption = tuple[int, int, int | bytes]

# getaddrinfo cannot be interrupted: its caller stops waiting, the thread stays until it returns.
_resolver = DaemonPool("instance-lookup-dns", max_workers=4, idle_seconds=0.5)


class DeadlineSocket(socket.socket):
    """A socket whose timeout bounds everything until the next ``settimeout``, not one call."""

    _until = 0.0

    def settimeout(self, value: float | None) -> None:
        """Have all that follows end ``value`` seconds from now."""
        if value is None or value <= 0:  # None would mean for ever, and 0 not to wait
            raise TimeoutError("timed out")
        self._until = monotonic() + value
        super().settimeout(value)

    def _rearm(self) -> None:
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        super().settimeout(left)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive within what is left."""
        self._rearm()
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        """Send within what is left (``SSLSocket.sendall`` calls this once a record)."""
        self._rearm()
        return super().send(*args, **kwargs)


class DeadlineTLSSocket(DeadlineSocket, ssl.SSLSocket):
    """The same over TLS; OpenSSL's handshake keeps to the timeout as a whole by itself."""


def connect(
    host: str, port: int, deadline: Deadline, options: Iterable[SocketOption]
) -> DeadlineSocket:
    """Connect to the first address of the host that answers.

    Each but the last gets half of what is left, so that one that swallows packets (a broken IPv6
    route) leaves time for the next.
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
    found = _resolver.submit(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
    try:
        return found.result(deadline.remaining())
    finally:
        found.cancel()  # nobody wants it any more if it is still queued


class DeadlineConnection(HTTPConnection):
    """An HTTP connection that finds, and reaches, its host by the deadline."""

    def _new_conn(self) -> DeadlineSocket:
        try:
            deadline = Deadline.after(self.timeout or 0.0)
            sock = connect(self._dns_host, self.port, deadline, self.socket_options or ())
        except TimeoutError as exc:
            raise ConnectTimeoutError(self, f"{self.host} did not answer in time") from exc
        except (OSError, UnicodeError) as exc:  # UnicodeError: a label that IDNA does not allow
            raise NewConnectionError(self, f"{self.host} cannot be reached: {exc}") from exc
        sys.audit("http.client.connect", self, self.host, self.port)
        return sock


class DeadlineTLSConnection(DeadlineConnection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = DeadlineConnection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = DeadlineTLSConnection


class DeadlineAdapter(HTTPAdapter):
    """A transport adapter whose ``timeout`` is the wall-clock limit of the exchange.

    A response that is streamed keeps to it until its last byte.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools with connections and sockets that keep the deadline."""
        context = create_urllib3_context()
        context.sslsocket_class = DeadlineTLSSocket
        super().init_poolmanager(*args, ssl_context=context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """Send the request; ``timeout`` (by keyword) is in seconds and required."""
        if kwargs.get("timeout") is None:
            raise ValueError("a request needs a timeout")
        kwargs["timeout"] = Timeout(total=kwargs["timeout"])
        return super().send(request, *args, **kwargs)


class DeadlineSession(Session):
    """A session that keeps deadlines, and nothing else: no cookies, redirects or environment."""

    def __init__(self, pool_size: int) -> None:
        super().__init__()
        self.trust_env = False  # a .netrc would replace our credential, HTTP_PROXY our route
        # By its path: for True, requests 2.32.0 to 2.32.4 use, or count on, a context of their own.
        self.verify = DEFAULT_CA_BUNDLE_PATH
        # A cookie set in one user's call must not go out with another's.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = DeadlineAdapter(pool_connections=1, pool_maxsize=pool_size)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def get_redirect_target(self, resp: Response) -> str | None:
        """Find none: even with ``allow_redirects=False`` requests would read its whole body."""
        return None
