"""A proxy between us and the service: CONFIG_SERVICE_PROXY."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING

import pytest
import responses
from django.core.exceptions import ImproperlyConfigured

from instance_lookup.backends.base import Document
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.backends.transport import DeadlineSession
from instance_lookup.exceptions import ConfigServiceUnavailable
from tests.behaviour.http.queries import http_service, query
from tests.behaviour.http.routes import CREDENTIALS, with_credentials
from tests.support.servers import Answer, ScriptedServer, drip_body, free_port, tunnel
from tests.support.waiting import within

if TYPE_CHECKING:
    import ssl

URL = "http://service.example/api"
TOKEN = "token-very-secret"
PASSWORD = CREDENTIALS.partition(":")[2]
DEADLINE = 0.4


# --- what is sent -------------------------------------------------------------------------------


def test_http_service_is_asked_for_by_its_whole_url() -> None:
    """The proxy is sent the whole URL for an http service (RFC 9112, 3.2.2)."""
    with ScriptedServer(Answer(200, b"{}")) as proxy:
        service = http_service(URL, token=TOKEN, proxy=proxy.url)
        assert service.get_instance("a/b", query(user_id="u1")) == Document(b"{}")
        request = proxy.received[0]
    assert (request.method, request.path) == ("GET", f"{URL}/instances/a%2Fb")
    assert request.headers["Host"] == "service.example"
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert request.headers["X-User-ID"] == "u1"
    assert request.headers["Proxy-Authorization"] is None


@pytest.mark.extras
def test_https_service_is_asked_through_a_tunnel(tls: tuple[ssl.SSLContext, str]) -> None:
    """The proxy sees a name and a port, and nothing of what is said."""
    context, bundle = tls
    with (
        ScriptedServer(Answer(200, b"{}"), tls=context) as server,
        ScriptedServer(tunnel(server.port)) as proxy,
    ):
        options = {"token": TOKEN, "ca_bundle": bundle, "proxy": with_credentials(proxy.url)}
        service = http_service(server.url, **options)
        assert service.get_instance("acme", query()) == Document(b"{}")
        [connect], [request] = proxy.received, server.received
    assert (connect.method, connect.path) == ("CONNECT", f"127.0.0.1:{server.port}")
    assert connect.headers["Authorization"] is None
    assert basic(connect.headers["Proxy-Authorization"]) == CREDENTIALS
    assert request.path == "/instances/acme"
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert request.headers["Proxy-Authorization"] is None


@pytest.mark.extras
def test_certificate_of_the_service_is_verified_through_a_tunnel(
    tls: tuple[ssl.SSLContext, str],
) -> None:
    """A proxy that answers in the service's name fails the check of the certificate."""
    with (
        ScriptedServer(Answer(200, b"{}"), tls=tls[0]) as server,
        ScriptedServer(tunnel(server.port)) as proxy,
    ):
        service = http_service(server.url, proxy=proxy.url)
        with pytest.raises(ConfigServiceUnavailable) as caught:
            service.get_instance("acme", query())
    assert caught.value.details["error"] == "SSLCertVerificationError"
    assert server.received == []


def basic(header: str) -> str:
    scheme, _, value = header.partition(" ")
    assert scheme == "Basic"
    return b64decode(value).decode()


@pytest.mark.parametrize(
    ("userinfo", "sent"),
    [
        ("scout:secret", "scout:secret"),
        ("scout:p%40ss%3A%2F%23%20", "scout:p@ss:/# "),
        ("scout:%E2%82%AC", "scout:€"),
        ("scout:€", "scout:€"),
        ("scout", "scout:"),
        ("scout:", "scout:"),
    ],
)
def test_credentials_are_those_of_the_url(userinfo: str, sent: str) -> None:
    """The proxy's credentials are those of the URL, decoded, in UTF-8."""
    with ScriptedServer(Answer(200, b"{}")) as proxy:
        url = proxy.url.replace("://", f"://{userinfo}@")
        http_service(URL, proxy=url).get_instance("acme", query())
        assert basic(proxy.received[0].headers["Proxy-Authorization"]) == sent


def test_setting_says_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY and HTTP_PROXY of the environment do not change CONFIG_SERVICE_PROXY."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*,service.example")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with ScriptedServer(Answer(200, b"{}")) as proxy:
        assert http_service(URL, proxy=proxy.url).get_instance("acme", query()) == Document(b"{}")


def test_list_goes_through_the_proxy() -> None:
    """The list is asked for through the proxy too."""
    with ScriptedServer(Answer(200, b'{"instances": []}')) as proxy:
        http_service(URL, proxy=proxy.url).list_instances(query(), "c2")
        assert proxy.received[0].path == f"{URL}/instances?cursor=c2"


def test_proxy_works_with_responses() -> None:
    """The library ``responses`` works with a proxy: it mocks the service."""
    with responses.RequestsMock() as mock:
        mock.get(f"{URL}/instances/acme", body=b"{}")
        service = http_service(URL, proxy="http://proxy.example:3128")
        assert service.get_instance("acme", query()) == Document(b"{}")


def test_session_of_a_subclass_keeps_the_deadline_with_its_own_proxies() -> None:
    """A session whose own ``proxies`` are set keeps the deadline."""
    with ScriptedServer(drip_body()) as proxy, DeadlineSession(4) as session:
        session.proxies["http"] = proxy.url
        with within(DEADLINE), pytest.raises(OSError, match="timed out"):
            _ = session.get(URL, timeout=DEADLINE).content


# --- construction -------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy", ["https://u:s3cret@p.example:3128", "socks5://u:s3cret@p", ""])
def test_proxy_that_cannot_be_used_is_refused_without_showing_it(proxy: str) -> None:
    """An https or socks proxy is refused without showing its URL: the deadline would not hold."""
    with pytest.raises(ImproperlyConfigured, match="CONFIG_SERVICE_PROXY must be") as caught:
        HttpConfigService(url=URL, proxy=proxy)
    assert "s3cret" not in str(caught.value)


def test_service_shows_no_password() -> None:
    """The backend's repr shows no password."""
    assert PASSWORD not in repr(http_service(URL, proxy=with_credentials("http://p.example:3128")))
