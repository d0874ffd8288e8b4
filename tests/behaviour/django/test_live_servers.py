"""The one middleware under the servers that people deploy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import requests

from tests.support.running import running
from tests.support.servers import Answer, ScriptedServer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

SERVERS = {
    "gunicorn": ["tests.support.live:wsgi", "--bind", "fd://{fd}", "--threads", "2"],
    "uvicorn": ["tests.support.live:asgi", "--fd", "{fd}", "--log-level", "warning"],
}
OPTIONS = {"gunicorn": ["--no-control-socket", "--worker-tmp-dir", "{tmp}"]}


def config(instance_id: str, *, is_open: bool) -> Answer:
    body = {"instance_id": instance_id, "features": {"open": is_open}}
    return Answer(body=json.dumps(body).encode(), headers={"Content-Type": "application/json"})


ANSWERS = {
    "/instances/acme": config("acme", is_open=True),
    "/instances/shut": config("shut", is_open=False),
    "/instances/down": Answer(500),
}


def serving(server: str, service_url: str, directory: Path) -> AbstractContextManager[str]:
    """Run a server on a free port; it gives the site's address."""
    command = [server, *SERVERS[server], *OPTIONS.get(server, [])]
    return running(command, directory, CONFIG_SERVICE_URL=service_url)


@pytest.mark.extras
@pytest.mark.parametrize("server", SERVERS)
def test_middleware_under_a_real_server(server: str, tmp_path: Path) -> None:
    """Sync and async views are answered alike, and the service is asked once a minute, not more."""
    with (
        ScriptedServer(ANSWERS) as service,
        serving(server, service.url, tmp_path) as site,
        requests.Session() as session,
    ):
        session.trust_env = False

        def get(path: str, instance: str | None) -> requests.Response:
            headers = {} if instance is None else {"X-Instance-ID": instance}
            return session.get(f"{site}/{path}", headers=headers, timeout=20)

        assert get("untouched", None).text == "untouched"
        assert service.received == []
        for path in ("plain", "aplain", "required", "arequired", "stream"):
            assert get(path, "acme").text.startswith("acme"), (tmp_path / "log").read_text()
            statuses = [get(path, name).status_code for name in (None, "shut", "gone", "down")]
            assert statuses == [400, 403, 404, 503]
        assert [asked.path for asked in service.received].count("/instances/acme") == 1
        assert "Traceback" not in (tmp_path / "log").read_text()
