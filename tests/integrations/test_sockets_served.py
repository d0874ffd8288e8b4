"""The stack of docs/how-to/sockets.md under real servers, with real sessions and a real client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support.documents import ACME, ROOT, Site, blocks
from tests.support.running import running
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

pytestmark = pytest.mark.full

SERVERS = {
    "daphne": ["--fd", "{fd}", "mysite.asgi:application"],
    "uvicorn": ["--fd", "{fd}", "--log-level", "warning", "mysite.asgi:application"],
    "plain": ["--fd", "{fd}", "--log-level", "warning", "mysite.plain:application"],
}
SESSIONS = """
from django.contrib.auth.models import User
from django.test import Client
for name, pk in (("olga", 1), ("sam", 2)):
    client = Client()
    client.force_login(User.objects.create_user(name, pk=pk))
    print("SESSION", client.cookies["sessionid"].value)
"""


def manage(site: Site, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=site.directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "mysite.settings"}


def serving(server: str, site: Site) -> AbstractContextManager[str]:
    """Run a server on a free port; it gives the site's address."""
    command = [server.replace("plain", "uvicorn"), *SERVERS[server]]
    return running(command, site.directory, cwd=site.directory, **environment())


def opened(url: str, session: str, **options: Any) -> Any:
    headers = {"Cookie": f"sessionid={session}"}
    return connect(
        url,
        additional_headers=headers,
        origin="http://127.0.0.1",
        open_timeout=60,
        proxy=None,
        **options,
    )


def say(client: Any, said: Any) -> Any:
    client.send(json.dumps(said))
    return json.loads(client.recv(30))


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_sockets_of_a_site(server: str, tmp_path: Path) -> None:
    """The owner works, a stranger gets no socket, and who is revoked is closed out with a code."""
    site = Site(tmp_path, [*blocks("README.md"), *blocks("sockets.md")])
    manage(site, "migrate")
    lines = manage(site, "shell", "-c", SESSIONS).splitlines()
    olga, sam = (line.split()[1] for line in lines if line.startswith("SESSION "))
    with serving(server, site) as address:
        url = address.replace("http", "ws")
        with (
            opened(f"{url}/ws/jobs/?instance_id=acme", olga) as jobs,
            opened(f"{url}/ws/acme/renders/", olga) as renders,
        ):
            assert say(jobs, {"job": 7}) == {"instance": "acme", "job": 7}
            assert say(renders, {}) == {"instance": "acme", "beta": True}
            for path, session, status in (
                ("/ws/acme/renders/", sam, 403),
                ("/ws/acme/renders/", "nobody", 403),
                ("/ws/acme/renders/?instance_id=other", olga, 400),
                ("/ws/other/renders/", olga, 404),
            ):
                with pytest.raises(InvalidStatus) as refused:
                    opened(f"{url}{path}", session)
                # Daphne cannot say more than that.
                expected = 403 if server == "daphne" else status
                assert refused.value.response.status_code == expected
            theirs = ACME | {"metadata": {"owner": "2"}}
            document = json.dumps({"instances": [theirs]})
            (site.directory / "instances.json").write_text(document, encoding="utf-8")
            for client, said in ((jobs, {"job": 8}), (renders, {})):
                wait_until(partial(is_closed, client, said))
                assert client.close_code == 4403
        with opened(f"{url}/ws/jobs/?instance_id=acme", sam) as jobs:
            assert say(jobs, {"job": 9})["job"] == 9


def is_closed(client: Any, said: Any) -> bool:
    try:
        say(client, said)
    except ConnectionClosed:
        return True
    return False


def test_plain_application_under_a_server(tmp_path: Path) -> None:
    """A problem is a whole answer of HTTP, and the connection goes on."""
    site = Site(tmp_path, [*blocks("README.md"), *blocks("sockets.md")])
    with serving("plain", site) as url, requests.Session() as session:
        session.trust_env = False
        for _ in range(2):
            answer = session.get(url, headers={"X-Instance-ID": "acme"}, timeout=60)
            assert (answer.status_code, answer.json()["status"]) == (403, 403)
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.headers["Cache-Control"] == "no-store"
