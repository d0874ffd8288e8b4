"""``config.bearer`` with real clients and real servers: who gets the key, and who sees it."""

from __future__ import annotations

import asyncio
import copy
import pickle
import ssl
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import requests
import trustme

from instance_lookup import InstanceConfig
from instance_lookup.exceptions import forget_request
from tests.support.canary import CANARY, places
from tests.support.servers import Answer, ScriptedServer, free_port, linger, redirect, reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from instance_lookup.bearer import Bearer

    Get = Callable[[str, Bearer, str], Any]

CONFIG = InstanceConfig(instance_id="acme", api_keys={"render": CANARY})
OTHER_HOST = "127.0.0.2"


def by_requests(url: str, auth: Bearer, ca: str) -> Any:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, auth=auth, verify=ca, timeout=5)


def by_httpx(url: str, auth: Bearer, ca: str) -> Any:
    trusted = ssl.create_default_context(cafile=ca)
    with httpx.Client(verify=trusted, follow_redirects=True, trust_env=False) as client:
        return client.get(url, auth=auth)


def by_async_httpx(url: str, auth: Bearer, ca: str) -> Any:
    async def get() -> httpx.Response:
        trusted = ssl.create_default_context(cafile=ca)
        async with httpx.AsyncClient(
            verify=trusted, follow_redirects=True, trust_env=False
        ) as client:
            return await client.get(url, auth=auth)

    return asyncio.run(get())


each_client = pytest.mark.parametrize("get", [by_requests, by_httpx, by_async_httpx])


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(params=["http", "https"])
def worker(request: pytest.FixtureRequest, authority: trustme.CA) -> Iterator[ScriptedServer]:
    """The worker of the instance, in the clear and by TLS."""
    with server(authority, tls=request.param == "https") as worker:
        yield worker


def server(authority: trustme.CA, *, tls: bool, host: str = "127.0.0.1") -> ScriptedServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return ScriptedServer(Answer(), host=host, tls=context if tls else None)


def keys_at(server: ScriptedServer) -> list[str | None]:
    return [request.headers["Authorization"] for request in server.received]


@each_client
def test_worker_gets_the_key(worker: ScriptedServer, ca: str, get: Get) -> None:
    """The one server that is asked is told the key, and again where it leads back to itself."""
    worker.answers = {"/jobs": redirect("/done"), "/done": Answer()}
    assert get(f"{worker.url}/jobs", CONFIG.bearer("render"), ca).status_code == 200
    assert keys_at(worker) == [f"Bearer {CANARY}"] * 2


@each_client
def test_key_counts_and_not_what_the_url_holds(worker: ScriptedServer, ca: str, get: Get) -> None:
    """A user and password in the worker's URL do not replace the key."""
    url = worker.url.replace("://", "://user:pw@")
    get(f"{url}/jobs", CONFIG.bearer("render"), ca)
    assert keys_at(worker) == [f"Bearer {CANARY}"]


@each_client
@pytest.mark.parametrize("tls", [False, True], ids=["to http", "to https"])
@pytest.mark.parametrize("host", ["127.0.0.1", OTHER_HOST], ids=["another port", "another host"])
def test_redirect_elsewhere_takes_no_key(
    worker: ScriptedServer, authority: trustme.CA, ca: str, *, host: str, tls: bool, get: Get
) -> None:
    """A worker that is taken over, or one that is wrong, cannot send the key on."""
    with server(authority, host=host, tls=tls) as elsewhere:
        worker.answers = redirect(f"{elsewhere.url}/jobs")
        assert get(f"{worker.url}/jobs", CONFIG.bearer("render"), ca).status_code == 200
        assert keys_at(worker) == [f"Bearer {CANARY}"]
        assert keys_at(elsewhere) == [None]


@each_client
def test_client_sends_no_key_to_the_next_server(ca: str, get: Get) -> None:
    """An object that is used again for another server raises before anything is sent."""
    with ScriptedServer(Answer()) as one, ScriptedServer(Answer()) as other:
        bearer = CONFIG.bearer("render")
        get(one.url, bearer, ca)
        with pytest.raises(ValueError, match="is not sent to") as caught:
            get(other.url, bearer, ca)
        assert other.received == []
    assert places(caught.value) == []


FAULTS = {
    "refused": None,
    "reset": reset(),
    "garbage": linger(b"garbage\r\n\r\n"),
}


def failure(get: Get, url: str, ca: str) -> Exception:
    with pytest.raises((requests.RequestException, httpx.TransportError)) as caught:
        get(url, CONFIG.bearer("render"), ca)
    return caught.value


@each_client
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_error_of_a_call_holds_no_key(fault: str, scheme: str, ca: str, get: Get) -> None:
    """No frame of a client, however the worker fails, shows the key to an error tracker."""
    script = FAULTS[fault]
    with ScriptedServer(on_connect=script) as server:
        port = server.port if script else free_port()
        error = failure(get, f"{scheme}://127.0.0.1:{port}/jobs", ca)
    # What the middleware does with each error of a view: http.client, which requests uses, keeps
    # the bytes of what it could not send.
    forget_request(error)
    assert places(error) == []


def test_error_of_a_call_would_hold_the_key(ca: str) -> None:
    """The key is there to be found: this is what the middleware takes out."""
    error = failure(by_requests, f"http://127.0.0.1:{free_port()}", ca)
    assert {place.rpartition(":")[2] for place in places(error)} >= {
        "HTTPConnection._send_output",
        "HTTPConnection.send",
    }


def test_requests_of_httpx_show_no_key() -> None:
    """A request that a view or a hook of httpx holds shows no key, as text or as bytes."""
    request = CONFIG.bearer("render")(httpx.Request("GET", "https://worker.example"))
    assert request.headers["Authorization"] == f"Bearer {CANARY}"
    assert CANARY not in f"{request!r} {request.headers!r} {request.headers.raw!r}"
    assert CANARY not in f"{request.headers.items()} {request.headers.multi_items()}"


@each_client
def test_pickled_answer_holds_no_key(worker: ScriptedServer, ca: str, get: Get) -> None:
    """An answer that is kept in a cache or a session does not take the key along."""
    answer = get(f"{worker.url}/jobs", CONFIG.bearer("render"), ca)
    pickled = pickle.dumps(answer)
    assert CANARY.encode() not in pickled
    assert pickle.loads(pickled).status_code == 200
    assert copy.deepcopy(answer.request).headers["Authorization"] == f"Bearer {CANARY}"
