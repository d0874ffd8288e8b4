"""HTTP on ``requests`` whose timeout is a deadline, directly or through a proxy.

The timeout of ``requests`` bounds each read, so a server that sends one byte a second holds a
caller for ever, and a host with many addresses gets the timeout once for each. Here it bounds the
whole exchange: name lookup, connect, the proxy's tunnel, TLS handshake, headers and body.

A connection serves many exchanges. One that breaks before the first byte of an answer is replaced
once. One that brought more than the answer, rested for some seconds, or is a minute old is not used
again.
"""

from __future__ import annotations

import re
import sys
from base64 import b64encode
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

from requests import Session
from requests.adapters import HTTPAdapter
from requests.exceptions import ProxyError as RequestsProxyError
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, ProxyManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProxyError, ReadTimeoutError
from urllib3.util.ssl_ import create_urllib3_context

from instance_lookup.backends.access_tokens import AccessTokens
from instance_lookup.backends.sockets import (
    DeadlineSocket,
    DeadlineTLSSocket,
    FinalResponse,
    connect,
)
from instance_lookup.resilience.deadline import Deadline

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

LIFETIME = 60.0
"""Seconds after which a connection is not used again: the name may have moved by then."""
REST = 4.0
"""Seconds without an exchange after which a connection is not used again.

It may be dead, and nothing says so: firewalls and balancers forget connections that rest, most of
them after a minute or more, and then drop what is sent. Servers close theirs after 5 seconds
(Apache, Node, uvicorn) or more: with less, a request seldom meets the end of its connection.
"""
_ACKNOWLEDGED = 1.0
"""Seconds for a connection that was used before to show that the other side is still there."""
_NO_TUNNEL = re.compile("Tunnel connection failed: ([0-9]{3})")  # how http.client says it


class ProxyRefused(OSError):
    """The proxy answered for itself: 407, or anything but 200 when asked for a tunnel."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered {status}")
        self.status = status


class DeadlineConnection(HTTPConnection):
    """An HTTP connection that finds, and reaches, its host by the deadline."""

    response_class = FinalResponse
    sock: DeadlineSocket | None
    _made_at = 0.0

    @property
    def is_connected(self) -> bool:
        """Tell whether another request may go out on it."""
        if self.sock is None or self.sock.surplus:
            return False
        now = monotonic()
        if now - self._made_at >= LIFETIME or now - self.sock.heard_at >= REST:
            return False
        return super().is_connected

    def _new_conn(self) -> DeadlineSocket:
        self._made_at = monotonic()
        try:
            deadline = Deadline.after(self.timeout or 0.0)
            sock = connect(self._dns_host, self.port, deadline, self.socket_options or ())
        except TimeoutError as exc:
            raise ConnectTimeoutError(self, f"{self.host} did not answer in time") from exc
        except (OSError, UnicodeError) as exc:  # UnicodeError: a label that IDNA does not allow
            raise NewConnectionError(self, f"{self.host} cannot be reached: {exc}") from exc
        sys.audit("http.client.connect", self, self.host, self.port)
        return sock

    def _tunnel(self) -> None:
        try:
            super()._tunnel()
        except (OSError, HTTPException) as exc:
            cause = _tunnel_failure(exc)
            raise ProxyError("The proxy opened no tunnel", cause) from cause


class DeadlineTLSConnection(DeadlineConnection, HTTPSConnection):
    """A :class:`DeadlineConnection` over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = DeadlineConnection

    def _make_request(self, conn: Any, *args: Any, **kwargs: Any) -> Any:
        """Send a request; where a connection that was used before breaks, once more on a new one.

        The service may close an idle connection while a request is on its way, or the way to it may
        be gone. If no byte of an answer came, the request is sent again. It is always a GET, so
        this is safe.
        """
        sock = conn.sock
        before = sock.received if sock else 0
        try:
            if before:
                patience = min(_ACKNOWLEDGED, kwargs["timeout"].read_timeout / 2)
                sock.break_unless_acknowledged(patience)
            return super()._make_request(conn, *args, **kwargs)
        except (OSError, ReadTimeoutError):
            # Without time left it is the deadline: a service that is late has broken nothing.
            if not before or sock.received > before or not kwargs["timeout"].read_timeout:
                raise
        # Not another one of the pool: what closed this one has closed those as well.
        conn.close()
        if self.proxy:
            conn.timeout = kwargs["timeout"].connect_timeout
            self._prepare_proxy(conn)
        return super()._make_request(conn, *args, **kwargs)


class _TLSPool(_Pool, HTTPSConnectionPool):
    ConnectionCls = DeadlineTLSConnection


_POOLS = {"http": _Pool, "https": _TLSPool}


class _Until(Timeout):
    """A timeout: each step may take the time that is left until the deadline."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def clone(self) -> _Until:
        return self

    def start_connect(self) -> float:
        return monotonic()

    @property
    def connect_timeout(self) -> float:
        return self._deadline.remaining()

    @property
    def read_timeout(self) -> float:
        return self._deadline.remaining()


class DeadlineAdapter(HTTPAdapter):
    """A transport adapter whose ``timeout`` is the wall-clock limit of the exchange.

    A response that is streamed keeps to it until its last byte.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools with connections and sockets that keep the deadline."""
        context = create_urllib3_context()
        context.sslsocket_class = DeadlineTLSSocket
        super().init_poolmanager(*args, ssl_context=context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> ProxyManager:
        """Return the pools of that proxy; they keep the deadline too."""
        manager: ProxyManager | None = self.proxy_manager.get(proxy)
        if manager is None:
            options = {**self.poolmanager.connection_pool_kw, **kwargs}
            manager = ProxyManager(proxy, 1, proxy_headers=self.proxy_headers(proxy), **options)
            manager.pool_classes_by_scheme = _POOLS
            # Ready before another thread can see it; of two made at the same moment one is used.
            manager = self.proxy_manager.setdefault(proxy, manager)
        return manager

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        """Return what is for the proxy only: sent with ``CONNECT``, or removed by it."""
        return _credentials(proxy)

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """Send the ``request``; ``timeout`` (among ``kwargs``) is in seconds and required.

        The other arguments, ``args`` and ``kwargs``, are those of ``requests``.
        """
        if kwargs.get("timeout") is None:
            raise ValueError("a request needs a timeout")
        kwargs["timeout"] = _Until(Deadline.after(kwargs["timeout"]))
        response = super().send(request, *args, **kwargs)
        if response.status_code == 407 and kwargs.get("proxies"):  # no service answers that
            response.close()
            raise RequestsProxyError(request=request) from ProxyRefused(407)
        return response


class DeadlineSession(Session):
    """A session that keeps deadlines, and nothing else: no cookies, redirects or environment."""

    def __init__(self, pool_size: int, proxy: str | None = None) -> None:
        super().__init__()
        self.trust_env = False  # a .netrc would replace our credential, HTTP_PROXY our route
        self.proxies = {"all": proxy} if proxy else {}
        # By its path: for True, requests 2.32.0 to 2.32.4 use, or count on, a context of their own.
        self.verify = DEFAULT_CA_BUNDLE_PATH
        # A cookie set in one user's call must not go out with another's.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = DeadlineAdapter(pool_connections=1, pool_maxsize=pool_size)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """Send the ``request``, with a token where there are :class:`AccessTokens`.

        ``timeout`` (among ``kwargs``, which are those of ``requests``) is for fetching one as well.
        """
        tokens = self.auth
        if not isinstance(tokens, AccessTokens):
            return super().send(request, **kwargs)
        deadline = Deadline.after(kwargs["timeout"])
        tokens.authorize(request, deadline)
        response = super().send(request, **kwargs | {"timeout": deadline.remaining()})
        if response.status_code == 401:
            response.close()
            tokens.reauthorize(request, deadline)
            response = super().send(request, **kwargs | {"timeout": deadline.remaining()})
        return response

    def get_redirect_target(self, resp: Response) -> str | None:
        """Find none: even with ``allow_redirects=False`` requests would read its whole body."""
        return None


def _tunnel_failure(exc: Exception) -> Exception:
    """Return why there is no tunnel, given what ``http.client`` raised."""
    refused = _NO_TUNNEL.match(str(exc))
    return ProxyRefused(int(refused[1])) if refused else exc


def address(proxy: str) -> str:
    """Return host and port of a proxy's URL, without its secrets."""
    return urlsplit(proxy).netloc.rpartition("@")[2]


def _credentials(proxy: str) -> dict[str, str]:
    """Return the user and password of a proxy's URL as a header.

    Encoded as UTF-8 (RFC 7617): ``requests`` uses Latin-1, fails on other characters, and leaves
    out a user without a password.
    """
    user, _, password = urlsplit(proxy).netloc.rpartition("@")[0].partition(":")
    if not user:
        return {}
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return {"Proxy-Authorization": f"Basic {b64encode(pair).decode()}"}


def root_cause(exc: BaseException) -> BaseException:
    """Return the first cause: its class says most, as ``SSLCertVerificationError`` does."""
    while cause := exc.__cause__ or exc.__context__ or _wrapped(exc):
        exc = cause
    return exc


def _wrapped(exc: BaseException) -> BaseException | None:
    # urllib3 keeps some causes only as an argument of its own error.
    return next((arg for arg in exc.args if isinstance(arg, BaseException)), None)
