"""A Config Service for tests: a real server on a real socket, that fails when it is told to."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from hashlib import sha256
from http.client import responses
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from instance_lookup.context import fresh_request_id
from instance_lookup.testing import servers
from instance_lookup.testing.servers import Answer, Fault, Received, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    from instance_lookup.testing.servers import Script

_PATH = re.compile(r"/(instances|projects)/([^/]+)")


class FakeConfigService:
    """Answer as ``docs/reference/config-service.md`` says, on ``port`` of this machine (0: any).

    ::

        with FakeConfigService() as service:
            service.instances["acme"] = {"metadata": {"owner": "1"}}
            service.fail(503)

    ``instances`` maps an id to the fields of its configuration (``instance_id`` is added where it
    is missing), ``projects`` a project id to an instance id; both may be changed at any time.
    With ``token`` it refuses requests without it. It lists ``page_size`` ids a page. The last
    fault counts, from the next request on and until :meth:`recover`; :meth:`delay` goes with any
    of them.
    """

    def __init__(
        self,
        instances: Mapping[str, Mapping[str, Any]] | None = None,
        projects: Mapping[str, str] | None = None,
        *,
        token: str | None = None,
        port: int = 0,
        page_size: int = 100,
    ) -> None:
        self.instances: MutableMapping[str, Mapping[str, Any]] = dict(instances or {})
        self.projects: MutableMapping[str, str] = dict(projects or {})
        self._token = token
        self._page_size = page_size
        self._refused: set[tuple[str, str]] = set()
        self._delay = 0.0
        self._fault: Callable[[Answer], Script] | None = None
        self._lock = threading.Lock()
        self._server = ScriptedServer(self._script, port=port)
        self.url = self._server.url

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop for good: from now on connections are refused."""
        self._server.stop()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.port

    @property
    def settings(self) -> dict[str, Any]:
        """What ``INSTANCE_LOOKUP`` needs to ask this service."""
        backend = "instance_lookup.backends.http.HttpConfigService"
        return {
            "CONFIG_SERVICE_BACKEND": backend,
            "CONFIG_SERVICE_URL": self.url,
            "CONFIG_SERVICE_TOKEN": self._token,
        }

    @property
    def requests(self) -> list[Received]:
        """What was asked so far, in order: ``method``, ``path``, ``headers``, ``connection``."""
        return self._server.received

    def refuse(self, user_id: str, instance_id: str) -> None:
        """Answer 403 when this user asks for this instance, or for a project of it."""
        self._refused.add((user_id, instance_id))

    def fail(self, status: int = 503, *, retry_after: float | str | None = None) -> None:
        """Answer with this status, and a ``Retry-After`` if one is given."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.answer(_problem(status, "As the test wants it.", headers))

    def answer(self, script: Answer | Fault) -> None:
        """Give this answer to everything."""
        self._fault = lambda proper: script

    def delay(self, seconds: float) -> None:
        """Wait ``seconds`` before each answer, and each fault."""
        self._delay = seconds

    def hang(self) -> None:
        """Accept requests, and never answer."""
        self.answer(servers.mute())

    def drip(self, interval: float = 0.05) -> None:
        """Send the answer byte by byte, one every ``interval`` seconds."""
        self._fault = lambda proper: servers.drip(servers.encode(proper), interval=interval)

    def reset(self) -> None:
        """Drop the connection when a request has come in."""
        self.answer(servers.reset())

    def truncate(self) -> None:
        """Promise a body twice as long as what is sent."""
        self._fault = lambda proper: servers.truncated(proper.body)

    def redirect(self, location: str, status: int = 302) -> None:
        """Answer with a redirect."""
        self.answer(servers.redirect(location, status))

    def sequence(self, *scripts: int | Answer | Fault | None) -> None:
        """Give these answers in turn, one a request, and the proper ones after that.

        A number is a status, ``None`` the proper answer.
        """
        left = iter(scripts)

        def take(proper: Answer) -> Script:
            with self._lock:
                script = next(left, None)
            if isinstance(script, int):
                return _problem(script, "As the test wants it.")
            return script or proper

        self._fault = take

    def recover(self) -> None:
        """Answer properly and at once from now on; users that are refused stay so."""
        self._fault = None
        self._delay = 0.0

    def _script(self, request: Received) -> Script:
        proper = self._proper(request)
        headers = {"Cache-Control": "private, no-store", "X-Request-ID": _request_id(request)}
        proper = replace(proper, headers={**headers, **proper.headers})
        script = self._fault(proper) if self._fault else proper
        return replace(script, delay=script.delay + self._delay)

    def _proper(self, request: Received) -> Answer:
        """Return what a service in good health answers, the faults of a request in their order."""
        if self._token and request.headers["Authorization"] != f"Bearer {self._token}":
            return _problem(401, "The token is missing or wrong.", {"WWW-Authenticate": "Bearer"})
        url = urlsplit(request.path)
        found = _PATH.fullmatch(url.path)
        if found is None and url.path != "/instances":
            return _problem(404, "There is nothing at this path.")
        if request.method != "GET":
            return _problem(405, "GET only.", {"Allow": "GET"})
        if found is None:
            return self._list(parse_qs(url.query).get("cursor", [""])[0])
        return self._document(found[1], unquote(found[2]), request)

    def _document(self, kind: str, name: str, request: Received) -> Answer:
        if kind == "projects":
            instance_id = self.projects.get(name)
            fields: Any = {"project_id": name, "instance_id": instance_id}
        else:
            config = self.instances.get(name)
            instance_id = None if config is None else name
            fields = {"instance_id": name, **(config or {})}
        if instance_id is None:
            return _problem(404, f"There is nothing called {name!r}.")
        if (unquote(request.headers["X-User-ID"] or ""), instance_id) in self._refused:
            return _problem(403, "Not for this user.")
        return _conditional(msgspec.json.encode(fields), request.headers["If-None-Match"])

    def _list(self, cursor: str) -> Answer:
        later = sorted(name for name in list(self.instances) if name > cursor)
        page = later[: self._page_size]
        following = page[-1] if len(later) > len(page) else None
        body = msgspec.json.encode({"instances": page, "next": following})
        return Answer(200, body, {"Content-Type": "application/json"})


def _conditional(body: bytes, held: str | None) -> Answer:
    """Return the document, or 304 where ``If-None-Match`` names it (weakly: RFC 9110, 13.1.2)."""
    etag = f'"{sha256(body).hexdigest()[:16]}"'
    tags = [tag.strip().removeprefix("W/") for tag in (held or "").split(",")]
    if etag in tags or "*" in tags:
        return Answer(304, headers={"ETag": etag})
    return Answer(200, body, {"Content-Type": "application/json", "ETag": etag})


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an error in the format of RFC 9457."""
    title = responses.get(status, "Error")
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    kind = {"Content-Type": "application/problem+json"}
    return Answer(status, msgspec.json.encode(problem), {**kind, **(headers or {})})


def _request_id(request: Received) -> str:
    sent = request.headers["X-Request-ID"] or ""
    return sent if re.fullmatch(r"[\x21-\x7e]{1,200}", sent) else fresh_request_id()
