"""The Config Service over HTTP.

``GET {url}/instances/{id}``, ``GET {url}/projects/{id}``, ``GET {url}/instances?cursor=…``.
Nothing is followed, retried, decompressed or believed beyond the status: whether a body is a valid
configuration is judged by the caller.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from http.client import HTTPException
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import msgspec
import requests
from django.core.exceptions import ImproperlyConfigured
from requests.exceptions import ProxyError
from urllib3.exceptions import HTTPError

from instance_lookup.backends.access_tokens import NoToken
from instance_lookup.backends.answers import (
    GONE,
    Reason,
    Reply,
    Subject,
    decode_page,
    is_from_service,
    unavailable,
    verdict,
)
from instance_lookup.backends.base import (
    ConfigServiceBackend,
    Document,
    NotModified,
    Page,
    describe,
)
from instance_lookup.backends.headers import NOT_VISIBLE_ASCII, headers_of, valid_etag, version
from instance_lookup.backends.transport import DeadlineSession, ProxyRefused, address, root_cause
from instance_lookup.bearer import Credential
from instance_lookup.conf.validators import proxy_url, service_url
from instance_lookup.exceptions import InvalidContext
from instance_lookup.frozen import SecretBytes, hide

if TYPE_CHECKING:
    from collections.abc import Mapping

    from instance_lookup.backends.base import Query
    from instance_lookup.conf import Settings

# Connections kept open for the next call: as many as there can be fetches at a time, since urllib3
# logs a warning for each that it closes instead of keeping it.
POOL_SIZE = 288

_FAULTS = (requests.RequestException, HTTPError, HTTPException, OSError)
_segment = partial(quote, safe="", errors="surrogatepass")


class HttpConfigService(ConfigServiceBackend):
    """Ask a Config Service over HTTP, each call within ``Query.deadline`` by the wall clock.

    A header carries visible ASCII only. Anything else in a user or request id, and ``%`` itself,
    is sent percent-encoded as UTF-8: ``jörg`` as ``j%C3%B6rg``.

    For other credentials than a bearer token override :meth:`make_session`, for other paths
    :meth:`path_of`, for documents that look otherwise :meth:`parse`.
    """

    def __init__(
        self,
        *,
        url: str | None,
        token: str | None = None,
        max_bytes: int = 1_048_576,
        ca_bundle: str | None = None,
        client_cert: str | tuple[str, str] | None = None,
        proxy: str | None = None,
    ) -> None:
        """Raise ``ImproperlyConfigured`` for a value that is wrong. Does no I/O.

        ``url`` is what the paths are added to. ``token`` is sent as ``Authorization: Bearer``,
        ``max_bytes`` is the largest body that is read. ``ca_bundle`` is the path of the
        certificates to trust, ``client_cert`` that of our own (or of it and its key), ``proxy`` the
        URL of an HTTP proxy on the way.
        """
        # Before anything is raised: this frame is shown with its local variables.
        url, token, proxy = hide(url), hide(token), hide(proxy)
        if not url:
            raise ImproperlyConfigured("HttpConfigService needs CONFIG_SERVICE_URL.")
        if complaint := service_url(url):
            raise ImproperlyConfigured(f"CONFIG_SERVICE_URL {complaint}")
        if proxy is not None and (complaint := proxy_url(proxy)):
            raise ImproperlyConfigured(f"CONFIG_SERVICE_PROXY {complaint}")
        if token and NOT_VISIBLE_ASCII.search(token):
            raise ImproperlyConfigured(
                "CONFIG_SERVICE_TOKEN holds characters that a header cannot carry"
                " (a line break at its end?)."
            )
        self._url = url.rstrip("/")
        self._token = token
        self._max_bytes = max_bytes
        self._ca_bundle = ca_bundle
        self._client_cert = client_cert
        self._proxy = proxy
        self._sessions: dict[int, requests.Session] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Build the client from the settings that begin with ``CONFIG_SERVICE_``."""
        return cls(
            url=settings.config_service_url,
            token=settings.config_service_token,
            max_bytes=settings.config_service_max_bytes,
            ca_bundle=settings.config_service_ca_bundle,
            client_cert=settings.config_service_client_cert,
            proxy=settings.config_service_proxy,
        )

    @property
    def location(self) -> str:
        """The base URL. One with a user name or password has been refused."""
        return self._url

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        """Return the configuration of one instance."""
        return self._get("instance", instance_id, query)

    def get_project(self, project_id: str, query: Query) -> Document | NotModified:
        """Return the instance a project belongs to."""
        return self._get("project", project_id, query)

    def list_instances(self, query: Query, cursor: str | None = None) -> Page:
        """Return the page of instance ids that starts at ``cursor``."""
        subject = Subject("the list of instances", {}, describe(self))
        params = {} if cursor is None else {"cursor": cursor}
        reply = self._ask("list", "", params, replace(query, etag=None), subject)
        page = None if reply.body is None else decode_page(reply.body, cursor)
        if page is None:
            raise verdict(reply, subject)
        return page

    def make_session(self) -> requests.Session:
        """Return a new session; called once in each process."""
        session = DeadlineSession(POOL_SIZE, self._proxy)
        session.verify = self._ca_bundle or session.verify
        session.cert = self._client_cert
        session.headers.update(
            {
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"instance-lookup/{version()}",
            }
        )
        if self._token:
            session.headers["Authorization"] = Credential("Bearer " + self._token[:])
        return session

    def path_of(self, kind: str, id: str) -> str:  # noqa: A002  # its name in all docs
        """Return the path below ``CONFIG_SERVICE_URL`` at which a document is.

        ``kind`` is ``"instance"``, ``"project"``, or ``"list"``, which has no ``id``. The path
        begins with a slash, has the id percent-encoded, and no query.
        """
        return "/instances" if kind == "list" else f"/{kind}s/{_segment(id)}"

    def parse(self, kind: str, body: bytes) -> Any:
        """Return the contract's document from the body of a 200.

        As JSON (bytes or text), or as what ``json.loads`` returns. ``kind`` is ``"instance"`` or
        ``"project"``. An exception here makes the answer a rejected one.
        """
        return body

    @property
    def _session(self) -> requests.Session:
        """The session of this process: two processes must not talk on one connection.

        Without a lock, which a fork could leave locked; of two sessions made at once one wins. A
        parent's session is kept: its finalizer takes locks that the fork may have left locked.
        """
        pid = os.getpid()
        if session := self._sessions.get(pid):
            return session
        return self._sessions.setdefault(pid, self.make_session())

    def _get(self, kind: str, name: str, query: Query) -> Document | NotModified:
        subject = Subject(f"{kind} {name!r}", {f"{kind}_id": name}, describe(self))
        reply = self._ask(kind, name, {}, query, subject)
        if reply.status == 304 and valid_etag(query.etag):
            return NotModified()
        if reply.body is None:
            raise verdict(reply, subject)
        etag = valid_etag(reply.headers.get("ETag"))
        try:
            return Document(_json(self.parse(kind, bytes(reply.body))), etag, reply.status)
        except Exception as exc:  # noqa: BLE001  # of an override
            error = f"{type(exc).__name__} in {type(self).__name__}.parse"
        # Not in the handler: the error, or its frames, may hold the body.
        raise unavailable(subject, Reason.REJECTED, status=reply.status, error=error)

    def _ask(
        self, kind: str, name: str, params: Mapping[str, str], query: Query, subject: Subject
    ) -> Reply:
        path = self._path(kind, name, subject)
        try:
            request = self._session.prepare_request(
                requests.Request("GET", self._url + path, params=params, headers=headers_of(query))
            )
            # requests resolves "/instances/.." to "/", quoted or not.
            if not request.path_url.partition("?")[0].endswith(path):
                raise _no_path(subject)
            return self._exchange(request, query)
        except _FAULTS as exc:
            details = self._details(exc)
        # Not in the handler: the errors of requests hold the request, and so our token.
        reason = Reason.UNREACHABLE if query.deadline.remaining() else Reason.TIMEOUT
        raise unavailable(subject, details.pop("reason", reason), **details)

    def _path(self, kind: str, name: str, subject: Subject) -> str:
        if kind != "list" and not name:  # most services would answer with the list
            raise _no_path(subject)
        try:
            path = self.path_of(kind, name)
            # Without the slash it would go on with the name of the host.
            usable = path.startswith("/") and (name not in path or _segment(name) in path)
        except Exception as exc:  # noqa: BLE001  # of an override
            error = f"{type(exc).__name__} in {type(self).__name__}.path_of"
        else:
            if usable:
                return path
            error = (
                "path_of must return a path that begins with a slash and has the id percent-encoded"
            )
        raise unavailable(subject, Reason.REJECTED, error=error)

    def _details(self, exc: BaseException) -> dict[str, Any]:
        """Return the class of the error and where it happened, never its text.

        That may quote an answer.
        """
        root = root_cause(exc)
        details: dict[str, Any] = {"error": type(root).__name__}
        if isinstance(root, ProxyRefused):
            details = {"status": root.status}
        elif isinstance(root, NoToken):
            details = {"error": str(root), "reason": Reason.CREDENTIAL}
        if self._proxy and isinstance(exc, ProxyError):
            details["proxy"] = address(self._proxy)
        return details

    def _exchange(self, request: requests.PreparedRequest, query: Query) -> Reply:
        seconds = query.deadline.remaining()
        if not seconds:
            raise TimeoutError("no time left")
        with self._session.send(
            request, stream=True, allow_redirects=False, timeout=seconds
        ) as response:
            # A body that is not read to its end closes the connection; it takes no memory.
            status, headers = response.status_code, response.headers
            body, refused = self._read(response) if status in {200, 304, *GONE} else (None, "")
            if status == 200:
                return Reply(status, headers, body, refused)
            own = status in GONE and is_from_service(headers.get("Content-Type"), body)
            return Reply(status, headers, None, is_from_service=own)

    def _read(self, response: requests.Response) -> tuple[SecretBytes | None, str]:
        """Return the body, or ``None`` and why it is refused. No local variable shows any of it."""
        if encoding := _encoding(response):
            return None, f"Content-Encoding: {encoding}"
        too_big = (response.raw.length_remaining or 0) > self._max_bytes
        body, room = BytesIO(), 0 if too_big else self._max_bytes + 1
        # Until an empty read: only that one raises for a body that is cut short.
        while room and (size := body.write(response.raw.read(room, decode_content=False))):
            room -= size
        refused = "" if room else f"over {self._max_bytes} bytes"
        return None if refused else SecretBytes(body.getvalue()), refused


def _encoding(response: requests.Response) -> str | None:
    """Return the encoding of a body, fit to be shown, or ``None`` if there is none."""
    value = response.headers.get("Content-Encoding", "").strip()
    return None if value.lower() in {"", "identity"} else NOT_VISIBLE_ASCII.sub("?", value[:40])


def _json(document: Any) -> bytes:
    """Return a document, as ``parse`` returned it, as JSON."""
    if isinstance(document, str):
        document = document.encode()
    return document if isinstance(document, bytes) else msgspec.json.encode(document)


def _no_path(subject: Subject) -> InvalidContext:
    message = f"The Config Service cannot be asked for {subject.text}: no URL can hold it."
    return InvalidContext(message, **subject.ids)
