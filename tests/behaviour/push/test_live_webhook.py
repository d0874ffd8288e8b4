"""The webhook under the servers that people deploy."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.behaviour.django.test_live_servers import ANSWERS, SERVERS, config, serving
from tests.support.servers import ScriptedServer
from tests.support.waiting import wait_until
from tests.support.webhook import OTHER, SECRET, URL, event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from instance_lookup.testing import WebhookDelivery

pytestmark = pytest.mark.extras


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def service() -> Iterator[ScriptedServer]:
    with ScriptedServer(dict(ANSWERS)) as service:
        yield service


@pytest.fixture
def address(
    server: str, service: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    monkeypatch.setenv("WEBHOOK_SECRETS", f"{SECRET} {OTHER}")
    with serving(server, service.url, tmp_path) as address:
        yield address


def post(address: str, sent: WebhookDelivery, **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.post(
            address + URL, **{"data": sent.body, "headers": sent.headers, "timeout": 30, **options}
        )


def plain(address: str) -> int:
    with requests.Session() as session:
        session.trust_env = False
        headers = {"X-Instance-ID": "acme"}
        return session.get(f"{address}/plain", headers=headers, timeout=30).status_code


def raw(address: str, request: bytes) -> bytes:
    """Send bytes, and return the line that the answer begins with."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(request)
        return connection.recv(65_536).split(b"\r\n")[0]


def test_webhook_under_a_real_server(server: str, address: str, service: ScriptedServer) -> None:
    """A deletion is seen by the next request; what is forged, or not a delivery, does nothing."""
    assert plain(address) == 200
    service.answers = {"/instances/acme": config("acme", is_open=False)}
    for sent in (event("instance.deleted", secret=f"whsec_{'A' * 44}"), event("instance.archived")):
        assert post(address, sent).status_code in {202, 401}
    assert plain(address) == 200
    response = post(address, event("instance.deleted", secret=OTHER))
    assert (response.status_code, response.content) == (204, b"")
    assert plain(address) == 403
    sent = event("instance.deleted")
    chunked = post(address, sent, data=iter([sent.body[:9], sent.body[9:]]))
    assert chunked.status_code == {"gunicorn": 411, "uvicorn": 204}[server]
    assert post(address, sent, data=b"x" * 70_000).status_code == 413
    assert post(address, sent, data=iter([b"x" * 70_000])).status_code in {411, 413}


def test_update_in_the_background(address: str, service: ScriptedServer) -> None:
    """What is in use is fetched behind the answer, and nothing is asked for twice."""
    assert plain(address) == 200
    assert post(address, event()).status_code == 204
    wait_until(lambda: len(service.received) == 2)
    assert plain(address) == 200


def test_same_delivery_by_eight_threads(address: str, service: ScriptedServer) -> None:
    """All of them are told that it is done, or to come again; it is done once."""
    assert plain(address) == 200
    sent = event("instance.deleted")
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(post(address, sent).status_code))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert 204 in statuses
    assert set(statuses) <= {204, 503}
    assert plain(address) == 200
    asked = len(service.received)
    assert post(address, sent).status_code == 204
    assert plain(address) == 200
    assert len(service.received) == asked


@pytest.mark.parametrize("server", ["gunicorn"])
def test_too_long_is_not_read(address: str) -> None:
    """Under WSGI the answer comes before the body, of which not a byte has to be sent."""
    head = f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n"
    assert raw(address, head.encode()).startswith(b"HTTP/1.1 413 ")


def test_headers_that_are_no_text(address: str) -> None:
    """Bytes in headers, and headers that come twice, are refused as any other forgery."""
    for name in (b"webhook-id", b"webhook-signature", b"webhook-timestamp"):
        for value in (b"\xff\xfe", b"v1,\xc3\xa4", b"x\r\n" + name + b": y"):
            head = b"POST " + URL.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
            line = raw(address, head + name + b": " + value + b"\r\n\r\n{}")
            assert line.split()[1] in {b"400", b"401"}
