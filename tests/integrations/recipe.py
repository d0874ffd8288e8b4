"""A recipe of the docs as a site of its own: made by startproject, served by a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests

from tests.support.documents import Site, blocks
from tests.support.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INDEX = "recipes/README.md"
SEED = """
import json, django
django.setup()
from django.core.management import call_command
from django.test import Client
call_command("migrate", verbosity=0)
from django.contrib.auth.models import User
OLGA, SAM = [User.objects.create(username=name, pk=pk) for pk, name in ((1, "olga"), (2, "sam"))]
ADA = User.objects.create(username="ada", pk=3, is_superuser=True)
def session_of(user):
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value
sessions = {user.username: session_of(user) for user in (OLGA, SAM, ADA)}
made = {}
"""
"""Users that own "acme" (1) and "globex" (2), and an admin. A recipe's own part fills ``made``."""

INSTANCES: dict[str, dict[str, Any]] = {
    "acme": {
        "metadata": {"owner": "1", "name": "Acme"},
        "api_keys": {"render": "sk-very-secret"},
        "worker_urls": {"render": "https://render.example/jobs"},
        "features": {"beta": True},
    },
    "globex": {"metadata": {"owner": "2", "name": "Globex"}},
    "initech": {"metadata": {"owner": "1"}},
}


class Recipe:
    """The site of a page, and of the index, whose blocks come first."""

    def __init__(self, directory: Path, page: str, **environ: str) -> None:
        self.directory = directory / "site"
        self.directory.mkdir()
        parts = [*blocks(INDEX), *blocks(f"recipes/{page}.md")]
        self.site = Site(self.directory, parts)
        self.environ = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
            "PYTHONPATH": str(self.directory),
            **environ,
        }
        self.made: dict[str, Any] = {}
        self.sessions: dict[str, str] = {}

    def seed(self, script: str = "") -> None:
        """Migrate, make the users, and run a recipe's own part of it."""
        tail = "\nprint(json.dumps([sessions, made]))"
        self.sessions, self.made = json.loads(self.run("-c", SEED + script + tail))

    def run(self, *words: str, succeeds: bool = True) -> str:
        """Return what Python prints in the site's folder, and see whether it succeeds."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.directory,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode == 0) is succeeds, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def served(self, *, asgi: bool = False) -> Iterator[Visitor]:
        """Serve it by gunicorn, or by uvicorn, and yield a visitor who is not logged in."""
        gunicorn = ["gunicorn", "--bind", "fd://{fd}", "--threads", "4", "mysite.wsgi"]
        uvicorn = ["uvicorn", "--fd", "{fd}", "--lifespan", "off", "mysite.asgi:application"]
        log = self.directory.parent
        with running(uvicorn if asgi else gunicorn, log, **self.environ) as url:
            yield Visitor(url, self.sessions)

    @property
    def log(self) -> str:
        return (self.directory.parent / "log").read_text(encoding="utf-8", errors="replace")


class Visitor:
    """Asks a site over HTTP."""

    def __init__(self, url: str, sessions: dict[str, str]) -> None:
        self._url = url
        self._sessions = sessions

    def __call__(
        self,
        path: str,
        instance: str | None = "acme",
        *,
        user: str | None = None,
        method: str = "GET",
        **options: Any,
    ) -> requests.Response:
        """Ask for ``/path``, as a user of the session or as none, and name an instance."""
        headers = {} if instance is None else {"X-Instance-ID": instance}
        if user is not None:
            headers["Cookie"] = f"sessionid={self._sessions[user]}"
        headers |= options.pop("headers", {})
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method, f"{self._url}/{path}", headers=headers, timeout=60, **options
            )
