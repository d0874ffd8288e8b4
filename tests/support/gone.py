"""A Config Service on a socket that can forget what it knows, and what is seen of that."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceNotFound,
    InstanceResolver,
)
from tests.support.lookups import ACME, Twin, asks
from tests.support.servers import Answer, Answers, Received, ScriptedServer

if TYPE_CHECKING:
    import pytest

    from tests.support.lookups import Clock

PAGE = Answer(404, b"<h1>404 Not Found</h1>", {"Content-Type": "text/html"})
GONE = Answer(404, b'{"status": 404}', {"Content-Type": "application/problem+json"})
ETAG = {"ETag": '"1"'}
OLD = 299.999
"""A service that knows each instance and project that is not in ``gone``."""
SYNC = Twin(is_async=False)


class Service(ScriptedServer):
    """Knows every instance but those that are ``gone``, and of each its project."""

    def __init__(self) -> None:
        self.gone: set[str] | None = set()
        """``None``: all."""
        super().__init__(self.answer)

    def answer(self, request: Received) -> Answer:
        kind, name = request.path.strip("/").split("/")
        if self.gone is None or name in self.gone:
            return GONE
        if kind == "projects":
            document: dict[str, Any] = {"project_id": name, "instance_id": "acme"}
        else:
            document = {**ACME, "instance_id": name}
        return Answer(200, json.dumps(document).encode(), ETAG)


def outcome(resolver: InstanceResolver, name: str = "acme", twin: Twin = SYNC) -> str:
    """Return where the answer came from, or why there was none."""
    try:
        return str(twin(resolver, "resolve", asks(instance_id=name)).source)
    except InstanceNotFound:
        return "not found"
    except AccessDenied:
        return "denied"
    except ConfigServiceUnavailable as exc:
        return str(exc.details["reason"])


def outcomes(resolver: InstanceResolver, *names: str, twin: Twin = SYNC) -> list[str]:
    return [outcome(resolver, name, twin) for name in names]


def fill(resolver: InstanceResolver, clock: Clock, *names: str, age: float = 300) -> None:
    """Have the cache hold copies of this age."""
    assert set(outcomes(resolver, *names)) == {"service"}
    clock.now += age


def with_stale_copy(resolver: InstanceResolver, clock: Clock) -> None:
    """Have the cache hold a copy that the service is asked about."""
    fill(resolver, clock, "acme")


def then(service: Service, answers: Answers) -> None:
    """Let the service answer like this from now on, and forget what it was asked."""
    service.answers = answers
    service.received.clear()


def is_kept(resolver: InstanceResolver, name: str = "acme") -> bool:
    return resolver.cache.get(name, allow_stale=True) is not None


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return _lines(caplog, logging.WARNING)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return _lines(caplog, logging.ERROR)


def _lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    ours = (record for record in caplog.records if record.name == "instance_lookup")
    return [record.getMessage() for record in ours if record.levelno == level]
