"""Proxies that are slow, absent, or say no."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup.exceptions import ConfigServiceUnavailable
from tests.behaviour.http.leaks import shown
from tests.behaviour.http.queries import http_service, query
from tests.behaviour.http.routes import CREDENTIALS, known_sockets, open_sockets, with_credentials
from tests.behaviour.http.steps import Steps
from tests.support.servers import (
    SLOW,
    Answer,
    Fault,
    Script,
    ScriptedServer,
    black_hole,
    drip,
    drip_handshake,
    drip_headers,
    free_port,
    mute,
    reset,
    send,
    tunnel,
)
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    import socket
    import ssl
    import threading

    from instance_lookup.backends.base import Query

URL = "http://service.example/api"
SECURE_URL = "https://service.example/api"
TOKEN = "token-very-secret"
PASSWORD = CREDENTIALS.partition(":")[2]
DEADLINE = 0.4


def failure(
    url: str, proxy: str, seconds: float = 5.0, asked: Query | None = None, **options: Any
) -> ConfigServiceUnavailable:
    """Return the error of a call, which must come in time, without secrets or open connections.

    ``seconds`` are what it may take, ``asked`` is the query if it has another deadline.
    """
    known = known_sockets()
    service = http_service(url, token=TOKEN, proxy=with_credentials(proxy), **options)
    with within(seconds), pytest.raises(ConfigServiceUnavailable) as caught:
        service.get_instance("acme", asked or query(seconds))
    assert PASSWORD not in shown(caught.value)
    assert TOKEN not in shown(caught.value)
    assert open_sockets(known) == 0
    return caught.value


# --- the deadline -------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SLOW.values(), ids=SLOW)
def test_slow_proxy_ends_at_the_deadline(
    script: Answer | Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline bounds the whole exchange, whether the proxy or the service is slow."""
    reached = Steps(monkeypatch, ("_new_conn", DEADLINE)).query
    with ScriptedServer(script) as proxy:
        error = failure(URL, proxy.url, DEADLINE, reached)
    assert error.details == {"reason": "timeout", "error": "TimeoutError", "instance_id": "acme"}


@pytest.mark.parametrize("url", [URL, SECURE_URL])
def test_proxy_that_swallows_packets_ends_at_the_deadline(url: str) -> None:
    """A proxy that never answers is named in the error at the deadline."""
    with black_hole() as (host, port):
        error = failure(url, f"http://{host}:{port}", DEADLINE)
    assert error.details["reason"] == "timeout"
    assert error.details["proxy"] == f"{host}:{port}"


CONNECTS = {
    "mute": mute(),
    "answer drips": drip_headers(),
    "interim answers": drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 50, interval=0.01),
    "answer is late": Answer(200, delay=30),
}


@pytest.mark.parametrize("script", CONNECTS.values(), ids=CONNECTS)
def test_slow_tunnel_ends_at_the_deadline(script: Answer | Fault) -> None:
    """A slow CONNECT ends at the deadline, and the proxy is named."""
    with ScriptedServer(script) as proxy:
        details = failure(SECURE_URL, proxy.url, DEADLINE).details
    assert (details["reason"], details["proxy"]) == ("timeout", f"127.0.0.1:{proxy.port}")


def after_hello(fault: Fault) -> Fault:
    """A TLS server waits for the client to begin: what comes before would be the proxy's."""

    def play(sock: socket.socket, stopped: threading.Event) -> None:
        sock.recv(65536)
        fault.play(sock, stopped)

    return Fault(play)


HANDSHAKES = {"mute": mute(), "drips": after_hello(drip_handshake())}


@pytest.mark.parametrize("handshake", HANDSHAKES.values(), ids=HANDSHAKES)
def test_slow_handshake_behind_the_tunnel_ends_at_the_deadline(
    handshake: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow TLS handshake behind the tunnel ends at the deadline, and the proxy is not named."""
    tunnelled = Steps(monkeypatch, ("_tunnel", DEADLINE)).query
    with (
        ScriptedServer(on_connect=handshake) as server,
        ScriptedServer(tunnel(server.port)) as proxy,
    ):
        url = server.url.replace("http:", "https:")
        error = failure(url, proxy.url, DEADLINE, tunnelled)
    assert error.details == {"reason": "timeout", "error": "TimeoutError", "instance_id": "acme"}


@pytest.mark.extras
@pytest.mark.parametrize("script", SLOW.values(), ids=SLOW)
def test_slow_service_behind_the_tunnel_ends_at_the_deadline(
    tls: tuple[ssl.SSLContext, str], script: Answer | Fault
) -> None:
    """A slow answer behind the tunnel ends at the deadline."""
    context, bundle = tls
    with (
        ScriptedServer(script, tls=context) as server,
        ScriptedServer(tunnel(server.port)) as proxy,
    ):
        error = failure(server.url, proxy.url, DEADLINE, ca_bundle=bundle)
    assert error.details["reason"] == "timeout"


@pytest.mark.extras
def test_each_step_gets_what_the_others_left(
    tls: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tunnel that takes most of the time leaves little for the answer."""
    context, bundle = tls
    steps = Steps(monkeypatch, ("_tunnel", 10.0), ("request", DEADLINE))
    with (
        ScriptedServer(mute(), tls=context) as server,
        ScriptedServer(tunnel(server.port)) as proxy,
    ):
        error = failure(server.url, proxy.url, DEADLINE, steps.query, ca_bundle=bundle)
        wait_until(lambda: len(server.received) == 1)
    assert error.details == {"reason": "timeout", "error": "TimeoutError", "instance_id": "acme"}


# --- faults of the proxy ------------------------------------------------------------------------


@pytest.mark.parametrize("url", [URL, SECURE_URL])
def test_proxy_that_is_not_there_is_named(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A proxy that is not there is named in the error."""
    port = free_port()
    with caplog.at_level(logging.DEBUG):
        error = failure(url, f"http://127.0.0.1:{port}")
    assert error.details == {
        "reason": "unreachable",
        "error": "ConnectionRefusedError",
        "proxy": f"127.0.0.1:{port}",
        "instance_id": "acme",
    }
    assert str(error).endswith(
        f"unreachable (ConnectionRefusedError at the proxy 127.0.0.1:{port})."
    )
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    ("url", "status"), [(URL, 407), (SECURE_URL, 407), (SECURE_URL, 403), (SECURE_URL, 502)]
)
def test_proxy_that_refuses_is_named(
    url: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy that refuses is named with its status; its 403 does not deny the user."""
    script = Answer(status, b"<html>" + PASSWORD.encode(), {"Proxy-Authenticate": "Basic"})
    with ScriptedServer(script) as proxy, caplog.at_level(logging.DEBUG):
        error = failure(url, proxy.url)
        assert len(proxy.received) == 1
    assert error.details == {
        "reason": "unreachable",
        "status": status,
        "proxy": f"127.0.0.1:{proxy.port}",
        "instance_id": "acme",
    }
    assert str(error).endswith(f"unreachable ({status} at the proxy 127.0.0.1:{proxy.port}).")
    assert PASSWORD not in caplog.text


BROKEN = {"closes": send(b""), "reset": reset(), "no HTTP": send(b"SSH-2.0-x\r\n")}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_tunnel_that_breaks_is_the_fault_of_the_proxy(script: Fault) -> None:
    """Any answer but 200 to CONNECT is reported as unreachable, with the proxy's address."""
    with ScriptedServer(script) as proxy:
        details = failure(SECURE_URL, proxy.url).details
    assert (details["reason"], details["proxy"]) == ("unreachable", f"127.0.0.1:{proxy.port}")


def test_failures_leave_no_connections_behind() -> None:
    """Failed calls leave no connections behind, however many there are."""
    known = known_sockets()
    scripts: list[Script] = [drip_headers(), Answer(407), send(b""), Answer(502), mute()]
    for url in (URL, SECURE_URL):
        for script in scripts:
            with ScriptedServer(script) as proxy:
                service = http_service(url, proxy=proxy.url)
                for _ in range(3):
                    with pytest.raises(ConfigServiceUnavailable):
                        service.get_instance("acme", query(0.1))
            assert open_sockets(known) == 0
