"""A Config Service that keeps the contract, to be broken one thing at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from instance_lookup.operations.doctor.examination import examine
from tests.support.servers import Answer, ScriptedServer

if TYPE_CHECKING:
    from instance_lookup.operations.doctor.findings import Finding
    from tests.support.servers import Received, Script

TOKEN = "token-do-not-show-me"
SECRET = "sk-do-not-show-me"
PATIENT: dict[str, Any] = {
    "CONFIG_SERVICE_TIMEOUT": 30.0,
    "SOFT_TIMEOUT": 15.0,
    "NEAR_CACHE_SIZE": 0,
}
"""Settings under which a machine that stands still for a second is no finding."""
CALLS = 3
"""How many calls measure the latency, in these tests."""
JSON = {"Content-Type": "application/json"}
Rule = Callable[["Received"], "Script | None"]


def document(instance_id: str, **fields: Any) -> dict[str, Any]:
    metadata = {"owner": "u1"}
    return {
        "instance_id": instance_id,
        "api_keys": {"openai": SECRET},
        "metadata": metadata,
    } | fields


@dataclass
class Service:
    """Serves ``instances`` two a page; ``rule`` answers before that, where it does."""

    server: ScriptedServer
    instances: dict[str, Any] = field(
        default_factory=lambda: {name: document(name) for name in ("acme", "globex", "initech")}
    )
    rule: Rule = lambda request: None

    def answer(self, request: Received) -> Script:
        if found := self.rule(request):
            return found
        if request.headers["Authorization"] != f"Bearer {TOKEN}":
            return Answer(401, b'{"status": 401}', JSON)
        url = urlsplit(request.path)
        if url.path == "/instances":
            start = int(parse_qs(url.query).get("cursor", ["0"])[0])
            names = list(self.instances)
            following = str(start + 2) if start + 2 < len(names) else None
            return as_json({"instances": names[start : start + 2], "next": following})
        name = url.path.rpartition("/")[2]
        if url.path.startswith("/projects/") or name not in self.instances:
            return Answer(404, b'{"status": 404}', {**JSON, "Date": formatdate(usegmt=True)})
        return self._document(name, request)

    def _document(self, name: str, request: Received) -> Answer:
        answer = as_json(self.instances[name])
        etag = f'"{sha256(answer.body).hexdigest()}"'
        if request.headers["If-None-Match"] == etag:
            return Answer(304, headers={"ETag": etag})
        return Answer(200, answer.body, {**JSON, "ETag": etag})


def as_json(value: object, **headers: str) -> Answer:
    return Answer(200, json.dumps(value).encode(), {**JSON, **headers})


def at(path: str, script: Script) -> Rule:
    """Return the rule that answers one path."""
    return lambda request: script if urlsplit(request.path).path == path else None


def unknown(script: Script, kind: str = "instances") -> Rule:
    """Return the rule that answers for an id that does not exist."""
    return lambda request: script if request.path.startswith(f"/{kind}/doctor-") else None


def examined(instance_id: str | None = None, *, deep: bool = False) -> dict[str, Finding]:
    """Return what each probe found, by its name."""
    return {finding.probe: finding for finding in examine(instance_id, deep=deep)}


def levels(found: dict[str, Finding], level: str) -> set[str]:
    """Return the names of the probes of a level."""
    return {probe for probe, finding in found.items() if finding.level == level}
