"""A Config Service as a process of its own, and a client that talks to it plainly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from textwrap import dedent
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import requests
from config_service.process import MANAGE, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TOKEN = "token-of-the-tests"
ADMIN_PASSWORD = "a password of the tests"

CONFIG: dict[str, Any] = {
    "api_keys": {"render": "a-secret"},
    "rate_limits": {"render": {"rpm": 60, "rpm_burst": None, "daily": 1000}},
    "worker_urls": {"render": "https://worker.example/jobs"},
    "r2_bucket": "assets",
    "features": {"beta": True, "old": False},
}


def start_config_service(
    data_dir: Path, *, port: int = 0, seed: bool = True, env: Mapping[str, str] | None = None
) -> ServerProcess:
    """Start a Config Service whose files lie in ``data_dir``; it stops with its ``with`` block.

    On the same ``data_dir`` and ``port`` (with ``seed=False``) it comes back as it was.
    """
    return ServerProcess(
        "config_service",
        data_dir,
        *(["--seed"] if seed else []),
        port=port,
        env={**environment(), **(env or {})},
    )


def environment() -> dict[str, str]:
    """Return what a Config Service of the tests has in its environment."""
    return {
        "CONFIG_SERVICE_TOKEN": TOKEN,
        "CONFIG_SERVICE_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "CONFIG_SERVICE_WEBHOOKS": "{}",
        # A warning in the server is an error too.
        "PYTHONWARNINGS": "error",
    }


def run_in_service(data_dir: Path, code: str, **env: str) -> Any:
    """Run code in a process of its own on a service's database; return the JSON that it prints."""
    command = [sys.executable, str(MANAGE), "shell", "--settings=config_service.settings"]
    done = subprocess.run(
        [*command, "--no-imports", "--command", dedent(code)],
        env={**os.environ, "SANDBOX_DATA_DIR": str(data_dir), **environment(), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def fresh_id() -> str:
    """Return an id that no other test uses."""
    return f"t_{uuid4().hex}"


class Api(requests.Session):
    """A session with the base address and the token of a Config Service."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.trust_env = False
        self.headers["Authorization"] = f"Bearer {TOKEN}"

    def ask(self, path: str, method: str = "GET", **headers: str | None) -> requests.Response:
        """Send a request; ``X_User_ID="7"`` sends a header, ``None`` leaves one out."""
        named: Any = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request(
            method, self.url + path, headers=named, allow_redirects=False, timeout=10
        )


class AdminPages(requests.Session):
    """The admin's pages of a Config Service, for a superuser who has logged in."""

    def __init__(self, url: str, password: str = ADMIN_PASSWORD) -> None:
        super().__init__()
        self.url = f"{url}/admin/"
        self.trust_env = False
        self.page("login/")
        answer = self.send_form("login/", username="admin", password=password, next="/admin/")
        assert answer.status_code == 302, "logged in"

    def page(self, path: str = "") -> str:
        """Return the HTML of a page."""
        answer = self.get(self.url + path, timeout=10)
        answer.raise_for_status()
        return answer.text

    def send_form(self, path: str, **fields: Any) -> requests.Response:
        """Send the form of a page as a browser does."""
        token = self.cookies["config_service_csrftoken"]
        form = {"csrfmiddlewaretoken": token, **fields}
        return self.post(self.url + path, form, allow_redirects=False, timeout=10)
