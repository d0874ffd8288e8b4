"""A Config Service to be warmed from, and commands run in this process or in one of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from django.core.cache.backends.locmem import LocMemCache
from django.core.management import call_command
from django.core.management.base import CommandError

from instance_lookup import InstanceNotFound, get_resolver
from instance_lookup.backends.base import ConfigServiceBackend, Document
from instance_lookup.cache.entry import pack
from tests.support.servers import Answer, ScriptedServer

if TYPE_CHECKING:
    from instance_lookup.backends.base import NotModified, Page, Query
    from tests.support.servers import Received, Script

ROOT = Path(__file__).parents[3]
SECRET = "sk-do-not-show-me"
TOKEN = "token-do-not-show-me"


@dataclass
class ConfigService:
    """Serves ``ids`` two a page; ``scripts`` answers by path before that."""

    server: ScriptedServer
    ids: list[str] = field(default_factory=lambda: ["acme", "globex", "initech"])
    scripts: dict[str, Script] = field(default_factory=dict)

    @property
    def asked(self) -> list[str]:
        """The paths asked for, in alphabetical order: threads ask in any."""
        return sorted(request.path for request in self.server.received)

    def answer(self, request: Received) -> Script:
        if request.path in self.scripts:
            return self.scripts[request.path]
        url = urlsplit(request.path)
        if url.path == "/instances":
            return self._page(int(parse_qs(url.query).get("cursor", ["0"])[0]))
        kind, name = url.path.strip("/").split("/")
        if kind == "projects":
            return json_answer({"project_id": name, "instance_id": "acme"})
        return json_answer(config(name)) if name in self.ids else Answer(404)

    def _page(self, start: int) -> Answer:
        end = start + 2
        following = str(end) if end < len(self.ids) else None
        return json_answer({"instances": self.ids[start:end], "next": following})


def config(instance_id: str) -> dict[str, Any]:
    return {
        "instance_id": instance_id,
        "api_keys": {"openai": SECRET, "ideogram": SECRET},
        "worker_urls": {"images": f"https://user:{SECRET}@images.example/run?key={SECRET}"},
        "metadata": {"owner": "u1"},
        "features": {"beta": True},
    }


def json_answer(document: object) -> Answer:
    return Answer(200, json.dumps(document).encode())


def store(instance_id: str, *, age: float = 0.0, owner: str = "u1", **metadata: str) -> None:
    """Have the cache hold an instance's configuration as it was fetched ``age`` seconds ago."""
    entries = get_resolver().cache.tiers.shared
    about = {"owner": owner, **metadata}
    document = json.dumps({**config(instance_id), "metadata": about}).encode()
    packed = pack(
        entries.kind,
        instance_id,
        document,
        generation=entries.read(instance_id).generation,
        cached_at=time() - age,
        ttl=300.0,
        etag=None,
    )
    entries.write(instance_id, packed)


@dataclass(frozen=True)
class Run:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


NO_LIST = [
    Answer(404, b'{"status": 404}', {"Content-Type": "application/problem+json"}),
    Answer(404, b"<html>not found</html>", {"Content-Type": "text/html"}),
    Answer(404),
    Answer(405, headers={"Allow": "POST"}),
    Answer(501, b"not implemented", {"Content-Type": "text/plain"}),
]
"""How services say that they have no list of their instances."""


class WithoutList(ConfigServiceBackend):
    """A service that knows every instance and cannot list them."""

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        return Document(json.dumps(config(instance_id)).encode())

    def get_project(self, project_id: str, query: Query) -> Document | NotModified:
        raise InstanceNotFound("no projects", project_id=project_id)


class RefusesToList(WithoutList):
    """Says so itself."""

    def list_instances(self, query: Query, cursor: str | None = None) -> Page:
        raise NotImplementedError


class BareBackend:
    """A backend that follows the protocol without our base class."""

    get_instance = WithoutList.get_instance
    get_project = WithoutList.get_project


BACKENDS_WITHOUT_LIST = [WithoutList, RefusesToList, BareBackend]


def run(command: str, *args: str, **options: Any) -> Run:
    """Run a command in this process."""
    out, err = StringIO(), StringIO()
    try:
        call_command(command, *args, stdout=out, stderr=err, **options)
    except CommandError as exc:
        return Run(exc.returncode, out.getvalue(), f"{err.getvalue()}{exc}")
    return Run(0, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Site:
    """A settings module for commands that run in processes of their own."""

    directory: Path

    def configure(self, **settings: Any) -> None:
        lines = [f"{name} = {value!r}" for name, value in settings.items()]
        text = "\n".join(["from tests.settings import *", *lines])
        (self.directory / "site_settings.py").write_text(text, encoding="utf-8")

    def start(self, *args: str, **options: Any) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([str(self.directory), str(ROOT)])
        environment = {**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "site_settings"}
        return subprocess.Popen(
            [sys.executable, "-m", "django", *args],
            cwd=ROOT,
            env=environment,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def run(self, *args: str, text: bytes = b"") -> Run:
        with self.start(*args, stdin=subprocess.PIPE) as process:
            out, err = process.communicate(text, timeout=60)
        return Run(process.returncode, out.decode(), err.decode())


class PartlyBrokenCache(LocMemCache):
    """Fails for every key that speaks of ``broken``, with a message that shows a secret."""

    def set(self, key: str, *args: Any, **kwargs: Any) -> None:
        if "broken" in key:
            raise OSError(SECRET)
        super().set(key, *args, **kwargs)

    def get_many(self, keys: Any, version: int | None = None) -> dict[str, Any]:
        if any("broken" in key for key in keys):
            raise OSError(SECRET)
        return super().get_many(keys, version)
