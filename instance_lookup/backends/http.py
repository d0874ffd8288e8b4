"""The Config Service over HTTP.

``GET {url}/instances/{id}``, ``GET {url}/projects/{id}``, ``GET {url}/instances?cursor=…``.
Nothing is followed, retried, decompressed or believed beyond the status: whether a body is a valid
configuration is judged by the caller.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import partial
from http.client import HTTPException
from importlib import metadata
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import requests
from django.core.exceptions import ImproperlyConfigured
from urllib3.exceptions import HTTPError

from instance_lookup.backends.answers import (
    GONE,
    Reason,
    Reply,
    Subject,
    decode_page,
    is_own_word,
    unavailable,
    verdict,
)
from instance_lookup.backends.base import (
    ConfigServiceBackend,
    Document,
    NotModified,
    Page,
    described,
)
from instance_lookup.backends.transport import DeadlineSession
from instance_lookup.exceptions import InvalidContext
from instance_lookup.validators import service_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from instance_lookup.backends.base import Query
    from instance_lookup.conf import Settings

# Connections kept open for the next call: as many as there can be fetches at a time, since urllib3
# logs a warning for each that it closes instead of keeping it.
POOL_SIZE = 128

_FAULTS = (requests.RequestException, HTTPError, HTTPException, OSError)
_NOT_VISIBLE_ASCII = re.compile(r"[^\x21-\x7e]")
# RFC 9110, section 8.8.3, without bytes over 127; a long one would earn us a 431 for ever.
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,256}"')
_segment = partial(quote, safe="", errors="surrogatepass")
# All visible ASCII but "%", so that no two values are sent alike.
_header_value = partial(quote, safe="!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~", errors="surrogatepass")


class HttpConfigService(ConfigServiceBackend):
    """Ask a Config Service over HTTP, each call within ``Query.deadline`` by the wall clock.

    A header carries visible ASCII only. Anything else in a user or request id, and ``%`` itself,
    is sent percent-encoded as UTF-8: ``jörg`` as ``j%C3%B6rg``.

    For other credentials than a bearer token, override :meth:`make_session`.
    """

    def __init__(
        self,
        *,
        url: str | None,
        token: str | None = None,
        max_bytes: int = 1_048_576,
        ca_bundle: str | None = None,
        client_cert: str | tuple[str, str] | None = None,
    ) -> None:
        if not url:
            raise ImproperlyConfigured("HttpConfigService needs CONFIG_SERVICE_URL.")
        if complaint := service_url(url):
            raise ImproperlyConfigured(f"CONFIG_SERVICE_URL {complaint}")
        if token and _NOT_VISIBLE_ASCII.search(token):
            raise ImproperlyConfigured(
                "CONFIG_SERVICE_TOKEN holds characters that a header cannot carry"
                " (a line break at its end?)."
            )
        self._url = url.rstrip("/")
        self._token = token
        self._max_bytes = max_bytes
        self._ca_bundle = ca_bundle
        self._client_cert = client_cert
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
        subject = Subject("the list of instances", {}, described(self))
        params = {} if cursor is None else {"cursor": cursor}
        reply = self._ask("/instances", params, replace(query, etag=None), subject)
        page = None if reply.body is None else decode_page(reply.body, cursor)
        if page is None:
            raise verdict(reply, subject)
        return page

    def make_session(self) -> requests.Session:
        """Return a new session; called once in each process."""
        session = DeadlineSession(POOL_SIZE)
        session.verify = self._ca_bundle or session.verify
        session.cert = self._client_cert
        session.headers.update(
            {
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"instance-lookup/{_version()}",
            }
        )
        if self._token:
            session.headers["Authorization"] = f"Bearer {self._token}"
        return session

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
        subject = Subject.of(kind, name, described(self))
        reply = self._ask(f"/{kind}s/{_segment(name)}", {}, query, subject)
        if reply.status == 304 and _valid_etag(query.etag):
            return NotModified()
        if reply.body is None:
            raise verdict(reply, subject)
        return Document(reply.body, _valid_etag(reply.headers.get("ETag")), reply.status)

    def _ask(self, path: str, params: Mapping[str, str], query: Query, subject: Subject) -> Reply:
        try:
            request = self._session.prepare_request(
                requests.Request("GET", self._url + path, params=params, headers=_headers(query))
            )
            # requests resolves "/instances/.." to "/", quoted or not; an empty id is the list.
            sent = request.path_url.partition("?")[0]
            if path.endswith("/") or not sent.endswith(path):
                raise InvalidContext(
                    f"The Config Service cannot be asked for {subject.text}: no URL can hold it.",
                    **subject.ids,
                )
            return self._exchange(request, query)
        except _FAULTS as exc:
            error = _root(exc)
        # Not in the handler: the errors of requests hold the request, and thereby our token.
        late = not query.deadline.remaining()
        raise unavailable(subject, Reason.TIMEOUT if late else Reason.UNREACHABLE, error=error)

    def _exchange(self, request: requests.PreparedRequest, query: Query) -> Reply:
        seconds = query.deadline.remaining()
        if not seconds:
            raise TimeoutError("no time left")
        with self._session.send(
            request, stream=True, allow_redirects=False, timeout=seconds
        ) as response:
            # What is not read to its end costs the connection, never the memory.
            status, headers = response.status_code, response.headers
            body = self._read(response) if status in {200, 304, *GONE} else None
            is_own = status in GONE and is_own_word(headers.get("Content-Type"), body)
            return Reply(status, headers, body if status == 200 else None, is_own)

    def _read(self, response: requests.Response) -> bytes | None:
        encoding = response.headers.get("Content-Encoding", "identity")
        too_big = (response.raw.length_remaining or 0) > self._max_bytes
        if too_big or encoding.strip().lower() != "identity":
            return None
        body, room = b"", self._max_bytes + 1
        # To the empty read at the end: that is the one which tells of a body cut short.
        while room and (part := response.raw.read(room, decode_content=False)):
            body, room = body + part, room - len(part)
        return body if room else None


def _headers(query: Query) -> dict[str, str]:
    headers = {"X-Request-ID": _header_value(query.request_id)}
    if query.user_id:
        headers["X-User-ID"] = _header_value(query.user_id)
    if etag := _valid_etag(query.etag):
        headers["If-None-Match"] = etag
    return headers


def _valid_etag(etag: str | None) -> str | None:
    return etag if etag and _ETAG.fullmatch(etag) else None


def _version() -> str:
    try:
        return metadata.version("instance-lookup")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "0"


def _root(exc: BaseException) -> str:
    """Return the class name of the first cause, such as ``SSLCertVerificationError``."""
    while cause := exc.__cause__ or exc.__context__:
        exc = cause
    return type(exc).__name__
