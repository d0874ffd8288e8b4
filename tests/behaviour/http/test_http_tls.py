from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import trustme

from instance_lookup.backends import transport
from instance_lookup.backends.base import Document
from instance_lookup.exceptions import ConfigServiceUnavailable
from tests.behaviour.http.queries import http_service, query
from tests.support.servers import (
    Answer,
    Fault,
    ScriptedServer,
    drip_body,
    drip_chunks,
    drip_handshake,
    drip_headers,
    mute,
)
from tests.support.waiting import within

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE = 0.3


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def bundle(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return str(path)


def tls(cert: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    return context


@pytest.fixture(scope="module")
def context(ca: trustme.CA) -> ssl.SSLContext:
    return tls(ca.issue_cert("127.0.0.1"))


def error_of(url: str, seconds: float = 5.0, **options: object) -> ConfigServiceUnavailable:
    with within(seconds), pytest.raises(ConfigServiceUnavailable) as caught:
        http_service(url, **options).get_instance("acme", query(seconds))
    return caught.value


def test_own_authority_is_trusted(context: ssl.SSLContext, bundle: str) -> None:
    """CONFIG_SERVICE_CA_BUNDLE replaces the public authorities."""
    body = b"x" * 100_000  # several TLS records
    with ScriptedServer(Answer(200, body), tls=context) as server:
        answer = http_service(server.url, ca_bundle=bundle).get_instance("acme", query())
    assert answer == Document(body)


def test_directory_of_authorities_is_accepted(context: ssl.SSLContext, tmp_path: Path) -> None:
    """An empty directory of authorities is accepted, and trusts no certificate."""
    with ScriptedServer(Answer(200, b"{}"), tls=context) as server:
        error = error_of(server.url, ca_bundle=str(tmp_path))
    assert error.details["error"] == "SSLCertVerificationError"


def test_connection_is_reused(context: ssl.SSLContext, bundle: str) -> None:
    """One TLS handshake serves many calls."""
    with ScriptedServer(Answer(200, b"{}"), tls=context) as server:
        service = http_service(server.url, ca_bundle=bundle)
        for _ in range(3):
            service.get_instance("acme", query())
        assert [request.connection for request in server.received] == [1, 1, 1]


def test_unknown_authority_is_refused(context: ssl.SSLContext) -> None:
    """Without a bundle only public authorities are trusted."""
    with ScriptedServer(Answer(200, b"{}"), tls=context) as server:
        details = error_of(server.url).details
    assert (details["reason"], details["error"]) == ("unreachable", "SSLCertVerificationError")
    assert server.received == []


def test_expired_certificate_is_refused(ca: trustme.CA, bundle: str) -> None:
    """An expired certificate is refused."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    expired = ca.issue_cert("127.0.0.1", not_after=yesterday)
    with ScriptedServer(Answer(200, b"{}"), tls=tls(expired)) as server:
        error = error_of(server.url, ca_bundle=bundle)
    assert error.details["error"] == "SSLCertVerificationError"


def test_certificate_of_another_host_is_refused(ca: trustme.CA, bundle: str) -> None:
    """A certificate for another host is refused."""
    other = ca.issue_cert("other.example")
    with ScriptedServer(Answer(200, b"{}"), tls=tls(other)) as server:
        error = error_of(server.url, ca_bundle=bundle)
    assert error.details["error"] == "SSLCertVerificationError"


def test_missing_bundle_is_unreachable(context: ssl.SSLContext, tmp_path: Path) -> None:
    """A wrong path to the bundle trusts no certificate."""
    with ScriptedServer(Answer(200, b"{}"), tls=context) as server:
        error = error_of(server.url, ca_bundle=str(tmp_path / "missing.pem"))
    assert error.details["reason"] == "unreachable"
    assert server.received == []


def test_client_certificate_is_shown(ca: trustme.CA, bundle: str, tmp_path: Path) -> None:
    """A client certificate is sent, with its key in the same file or another."""
    cert = ca.issue_cert("studio.example")
    key, chain, both = (tmp_path / name for name in ("key.pem", "chain.pem", "both.pem"))
    cert.private_key_pem.write_to_path(str(key))
    cert.cert_chain_pems[0].write_to_path(str(chain))
    cert.private_key_and_cert_chain_pem.write_to_path(str(both))
    context = tls(ca.issue_cert("127.0.0.1"))
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with ScriptedServer(Answer(200, b"{}"), tls=context) as server:
        for client_cert in ((str(chain), str(key)), str(both)):
            service = http_service(server.url, ca_bundle=bundle, client_cert=client_cert)
            assert service.get_instance("acme", query()) == Document(b"{}")
        assert error_of(server.url, ca_bundle=bundle).details["reason"] == "unreachable"


SLOW = {
    "mute": mute(),
    "headers drip": drip_headers(),
    "body drips": drip_body(),
    "chunks drip": drip_chunks(),
}


@pytest.mark.parametrize("script", SLOW.values(), ids=SLOW)
def test_slow_service_ends_at_the_deadline(
    context: ssl.SSLContext, bundle: str, script: Fault
) -> None:
    """With TLS a slow service ends at the deadline as well."""
    with ScriptedServer(script, tls=context) as server:
        error = error_of(server.url, DEADLINE, ca_bundle=bundle)
    assert error.details["reason"] == "timeout"


HANDSHAKES = {"mute": mute(), "drips": drip_handshake()}


@pytest.mark.parametrize("handshake", HANDSHAKES.values(), ids=HANDSHAKES)
def test_slow_handshake_ends_at_the_deadline(bundle: str, handshake: Fault) -> None:
    """A slow TLS handshake ends at the deadline."""
    with ScriptedServer(on_connect=handshake) as server:
        url = server.url.replace("http:", "https:")
        error = error_of(url, DEADLINE, ca_bundle=bundle)
    assert error.details["reason"] == "timeout"


def test_slow_answer_on_a_reused_connection_ends_at_the_deadline(
    context: ssl.SSLContext, bundle: str
) -> None:
    """A slow answer on a reused TLS connection ends at its own deadline."""
    with ScriptedServer(Answer(200, b"{}"), tls=context) as server:
        service = http_service(server.url, ca_bundle=bundle)
        service.get_instance("acme", query())
        server.answers = drip_headers()
        with within(DEADLINE), pytest.raises(ConfigServiceUnavailable) as caught:
            service.get_instance("acme", query(DEADLINE))
    assert caught.value.details["reason"] == "timeout"


def test_deadline_holds_with_public_authorities_too(
    context: ssl.SSLContext, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline holds with public authorities too, with each release of requests."""
    monkeypatch.setattr(transport, "DEFAULT_CA_BUNDLE_PATH", bundle)
    with ScriptedServer(drip_headers(), tls=context) as server:
        error = error_of(server.url, DEADLINE)
    assert error.details["reason"] == "timeout"
