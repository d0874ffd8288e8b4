"""The way to a Config Service over HTTP, as the site's own backend goes it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from time import monotonic, time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from requests import Request
from requests.utils import select_proxy

from instance_lookup.backends.base import Query
from instance_lookup.backends.headers import headers_of
from instance_lookup.backends.sockets import DeadlineTLSSocket
from instance_lookup.backends.transport import DeadlineAdapter, DeadlineSession
from instance_lookup.context import fresh_request_id
from instance_lookup.resilience.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests import Session

    from instance_lookup.backends.http import HttpConfigService
    from instance_lookup.conf import Settings

_STANDARD = frozenset({"accept", "accept-encoding", "user-agent", "connection"})
_CHUNK = 65_536


class Handshake(NamedTuple):
    """A TLS handshake: the version of TLS, and when the certificate of the other side ends."""

    version: str
    ends: str
    """As certificates say it: ``Jun  1 12:00:00 2027 GMT``."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """An answer, without its body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    size: int
    """Bytes of the body; one more than may be, where there are more."""
    sent: float
    received: float
    """Unix time."""
    seconds: float


class Wire:
    """Sends requests as ``backend`` does: to its URL, by its session, its proxy and its TLS."""

    def __init__(self, backend: HttpConfigService, settings: Settings) -> None:
        """Make a session of the backend. Raises what its ``make_session`` raises. Does no I/O."""
        self._backend = backend
        self.session = backend.make_session()
        self.seconds = settings.config_service_timeout
        self.max_bytes = settings.config_service_max_bytes
        self.user_id = settings.config_service_user_id
        self.handshakes: list[Handshake] = []
        _note_handshakes(self.session, backend.location, self.handshakes)
        self.is_secure = urlsplit(backend.location).scheme == "https"
        self.proxy: str | None = select_proxy(backend.location, self.session.proxies)
        url = urlsplit(self.proxy or backend.location)
        self.host = url.hostname or ""
        """Of the proxy, where there is one."""
        self.port = url.port or (443 if url.scheme == "https" else 80)

    @property
    def sends_credential(self) -> bool:
        """Whether the session has anything that says who asks."""
        others = {name.lower() for name in self.session.headers} - _STANDARD
        return bool(others or self.session.auth or self.session.cert)

    def look(self, instance_id: str, session: Session | None = None) -> Exchange:
        """Ask for an instance, by another ``session`` if one is given. Raise what that raises."""
        session = session or self.session
        deadline = Deadline.after(self.seconds)
        query = Query(deadline, fresh_request_id(), self.user_id)
        url = self._backend.location + self._backend.path_of("instance", instance_id)
        request = session.prepare_request(Request("GET", url, headers=headers_of(query)))
        sent, began = time(), monotonic()
        with session.send(
            request, stream=True, allow_redirects=False, timeout=deadline.remaining()
        ) as response:
            received, seconds = time(), monotonic() - began
            size = _size(response.raw, self.max_bytes + 1)
            status, headers = response.status_code, response.headers
        return Exchange(status, headers, size, sent, received, seconds)

    def without_credential(self) -> Session:
        """Return a session that goes the same way and does not say who asks."""
        bare = DeadlineSession(1)
        bare.verify, bare.proxies = self.session.verify, self.session.proxies
        names = ("Accept", "Accept-Encoding", "User-Agent")
        bare.headers.update({name: self.session.headers[name] for name in names})
        return bare

    def with_token(self, token: str) -> Session:
        """Return a session like that of the backend, with another bearer token."""
        other = self._backend.make_session()
        other.auth = None  # it would have the last word
        other.headers["Authorization"] = f"Bearer {token}"
        return other


def _size(raw: Any, most: int) -> int:
    """Return the bytes of a body, up to ``most``. It is read, and not kept."""
    size = 0
    while size < most and (chunk := raw.read(min(_CHUNK, most - size), decode_content=False)):
        size += len(chunk)
    return size


def _note_handshakes(session: Session, url: str, noted: list[Handshake]) -> None:
    """Have each TLS handshake of a session written down, where it goes by our own transport."""

    class NotingSocket(DeadlineTLSSocket):
        def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # as in ssl
            super().do_handshake(block)
            ends = (self.getpeercert() or {}).get("notAfter", "")
            noted.append(Handshake(self.version() or "", str(ends)))

    adapter = session.get_adapter(url)
    if isinstance(adapter, DeadlineAdapter):
        context = adapter.poolmanager.connection_pool_kw["ssl_context"]
        context.sslsocket_class = NotingSocket


def why_no_tls(exc: BaseException) -> str | None:
    """Return what is wrong with TLS, as OpenSSL says it; ``None`` if that is not the cause."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return exc.verify_message
    if isinstance(exc, ssl.SSLError):
        return str(exc.reason)
    return None
