"""One connection to the event stream of the Config Service.

It goes out by a session that the backend makes: its proxy, certificates and credentials are those
of every other call. No redirect is followed, and nothing is decompressed.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from http.client import HTTPException
from time import monotonic, time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import requests
from urllib3.exceptions import HTTPError

from instance_lookup.backends.access_tokens import NoToken
from instance_lookup.backends.answers import retry_after
from instance_lookup.backends.base import Query
from instance_lookup.backends.headers import headers_of
from instance_lookup.backends.transport import ProxyRefused, root_cause
from instance_lookup.context import fresh_request_id
from instance_lookup.frozen import SecretText, hide
from instance_lookup.push.stream_parser import Endless, Parser
from instance_lookup.resilience.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.backends.http import HttpConfigService
    from instance_lookup.conf import Settings
    from instance_lookup.push.stream_parser import Event

SILENCE = 45.0
"""Seconds without a complete line after which a connection counts as dead: three heartbeats."""
RARELY = 900.0
"""Seconds until a service that has no stream is asked again: it may get one."""
_EVENT_STREAM = "text/event-stream"
_CHUNK = 65_536
_FAULTS = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError)


class Cause(NamedTuple):
    """Why there is no stream, as far as it changes what to do about it."""

    advice: str
    """What to do, for the log."""
    level: int = logging.WARNING
    pause: float = 0.0
    """Seconds before the next try, at least."""


PASSING = Cause("It is tried again by itself.")
CREDENTIAL = Cause("Check CONFIG_SERVICE_TOKEN, and that it may read the stream.", logging.ERROR)
NONE = Cause(
    "Check the path in CONFIG_SERVICE_STREAM. If the service has no stream, leave"
    " CONFIG_SERVICE_STREAM out; it is asked again every 15 minutes.",
    pause=RARELY,
)
REDIRECT = Cause("Redirects are not followed: check CONFIG_SERVICE_URL and CONFIG_SERVICE_STREAM.")
PROXY = Cause("Check CONFIG_SERVICE_PROXY, and the proxy.")
SILENT = Cause(
    "Check that the service sends a comment every 15 s, and that no proxy holds back what it sends."
)
NOT_ONE = Cause("Check CONFIG_SERVICE_STREAM, and what stands in front of the service.")
_OF_STATUS = {
    401: CREDENTIAL,
    403: CREDENTIAL,
    **dict.fromkeys((204, 404, 405, 410, 501), NONE),
    **dict.fromkeys((301, 302, 303, 307, 308), REDIRECT),
}


class StreamLost(Exception):
    """There is no stream, or no longer. Its text says what happened, and holds no secret."""

    def __init__(self, what: str, cause: Cause = PASSING, *, pause: float = 0.0) -> None:
        super().__init__(what)
        self.cause = cause
        self.pause = max(pause, cause.pause)
        """Seconds before the next try, at least."""


class Connection:
    """The answer to one ``GET``, which goes on. Read by one thread, closed by any."""

    def __init__(
        self, session: requests.Session, response: requests.Response, sock: socket.socket
    ) -> None:
        """Read the ``response``, a 200 of a stream, which comes from ``sock``.

        The ``session`` has no other use, and is closed with it.
        """
        self._session = session
        self._response = response
        self._socket = sock
        self._parser = Parser()

    @property
    def lines(self) -> int:
        """Lines that came so far, comments among them."""
        return self._parser.lines

    @property
    def retry(self) -> float | None:
        """Seconds that the service wants its clients to wait before they reconnect."""
        return self._parser.retry

    def events(self) -> Iterator[Event | None]:
        """Yield events as they come, and ``None`` where only a line came, such as a comment.

        Raises :class:`StreamLost` when there are no more.
        """
        heard, heard_at = self.lines, monotonic()
        try:
            self._socket.settimeout(SILENCE)
            while chunk := self._response.raw.read1(_CHUNK, decode_content=False):
                yield from self._parser.feed(chunk)
                if self.lines != heard:
                    yield None
                    heard, heard_at = self.lines, monotonic()
                    self._socket.settimeout(SILENCE)
                elif monotonic() - heard_at > SILENCE:  # bytes, but no line: of a plain session
                    raise TimeoutError
            lost = StreamLost("the service ended it")
        except Endless as exc:
            lost = StreamLost(str(exc), NOT_ONE)
        except _FAULTS as exc:
            root = root_cause(exc)
            lost = StreamLost(type(root).__name__)
            if isinstance(root, TimeoutError):
                lost = StreamLost(f"no line in {SILENCE:g} s", SILENT)
        # Not in the handler: the errors of requests hold the request, and so our token.
        raise lost

    def close(self) -> None:
        """End it, also under the thread that reads it, and in each process that has a copy."""
        with suppress(OSError):
            # Below TLS, whose own shutdown would take its state from under the reader.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def release(self) -> None:
        """Give back what it holds: for the thread that reads it."""
        self._response.close()
        self._session.close()


def connect(backend: HttpConfigService, settings: Settings, last_id: str | None) -> Connection:
    """Ask for the stream, from the event after ``last_id`` on if that is known.

    Its headers have to be there within ``CONFIG_SERVICE_TIMEOUT``. Raises :class:`StreamLost`.
    """
    timeout = settings.config_service_timeout
    session = backend.make_session()
    try:
        request = _request(session, backend, settings, last_id)
        response = session.send(request, stream=True, allow_redirects=False, timeout=timeout)
        if (lost := _refusal(response)) is None:
            return Connection(session, response, _socket_of(response))
        response.close()
    except _FAULTS as exc:
        lost = _unreachable(exc)
    session.close()
    raise lost


def url_of(backend: HttpConfigService, settings: Settings) -> str:
    """Return the URL of the stream: always on the host that the backend asks.

    It hides itself, since its query may be secret.
    """
    base, given = backend.location, hide(settings.config_service_stream or "")
    if given.startswith("/"):
        return SecretText(base + given)
    return SecretText(urlunsplit((*urlsplit(base)[:2], *urlsplit(given[:])[2:])))


def _request(
    session: requests.Session,
    backend: HttpConfigService,
    settings: Settings,
    last_id: str | None,
) -> requests.PreparedRequest:
    query = Query(
        Deadline.after(settings.config_service_timeout),
        fresh_request_id(),
        user_id=settings.config_service_user_id,
    )
    headers = {**headers_of(query), "Accept": _EVENT_STREAM, "Cache-Control": "no-store"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    return session.prepare_request(
        requests.Request("GET", url_of(backend, settings)[:], headers=headers)
    )


def _unreachable(exc: Exception) -> StreamLost:
    root = root_cause(exc)
    if isinstance(root, NoToken):
        return StreamLost(str(root), CREDENTIAL)
    what = f"unreachable: {type(root).__name__}"
    if isinstance(root, ProxyRefused):
        what = f"status {root.status}"
    if isinstance(exc, requests.exceptions.ProxyError):
        return StreamLost(f"{what} at the proxy", PROXY)
    return StreamLost(what)


def _socket_of(response: requests.Response) -> socket.socket:
    """Return what an answer is read from: no library lets its timeout change in between."""
    raw: Any = response.raw
    sock: socket.socket = raw._fp.fp.raw._sock  # noqa: SLF001
    return sock


def _refusal(response: Any) -> StreamLost | None:
    """Return why an answer is no stream, ``None`` if it is one."""
    status, headers = response.status_code, response.headers
    if status != 200:
        asked = retry_after(headers.get("Retry-After"), time()) if status in {429, 503} else None
        return StreamLost(f"status {status}", _OF_STATUS.get(status, PASSING), pause=asked or 0.0)
    kind = headers.get("Content-Type", "")
    if kind.partition(";")[0].strip().lower() != _EVENT_STREAM:
        return StreamLost(f"Content-Type {kind[:100]!r}", NOT_ONE)
    encoding = headers.get("Content-Encoding", "").strip().lower()
    if encoding not in {"", "identity"}:
        return StreamLost(f"Content-Encoding {encoding[:40]!r}", NOT_ONE)
    return None
