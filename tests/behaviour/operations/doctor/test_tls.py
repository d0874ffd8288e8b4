"""What is found about TLS: its version, its certificate, whether we are asked for one."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from requests.adapters import HTTPAdapter

from instance_lookup.backends.http import HttpConfigService
from instance_lookup.operations.doctor.wire import why_no_tls
from tests.behaviour.operations.doctor.support import Service, examined, levels
from tests.support.servers import ScriptedServer, tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_django.fixtures import Settings
    from requests import Session


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def bundle(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return str(path)


def context_of(cert: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    return context


def ends_in(ca: trustme.CA, days: float) -> ssl.SSLContext:
    """Return the context of a server whose certificate ends in so many days."""
    return context_of(ca.issue_cert("127.0.0.1", not_after=datetime.now(UTC) + timedelta(days)))


@contextmanager
def https(
    service: Service, settings: Settings, context: ssl.SSLContext, **options: Any
) -> Iterator[ScriptedServer]:
    """Serve what ``service`` does over TLS, and have the site ask there."""
    with ScriptedServer(service.answer, tls=context) as server:
        url = {"CONFIG_SERVICE_URL": server.url}
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, **url, **options}
        yield server


def test_certificate_that_is_good(
    service: Service, settings: Settings, ca: trustme.CA, bundle: str
) -> None:
    """The version of TLS is told, and the days that are left."""
    with https(service, settings, ends_in(ca, 90.5), CONFIG_SERVICE_CA_BUNDLE=bundle):
        found = examined(deep=True)
    assert (found["tls"].level, found["tls"].seen) == ("ok", "TLSv1.3")
    assert found["certificate"].figures == {"days_left": 90}
    assert levels(found, "error") == levels(found, "warning") == set()


def test_certificate_that_is_about_to_end(
    service: Service, settings: Settings, ca: trustme.CA, bundle: str
) -> None:
    """A certificate that ends within three weeks is to be renewed."""
    with https(service, settings, ends_in(ca, 1.5), CONFIG_SERVICE_CA_BUNDLE=bundle):
        finding = examined()["certificate"]
    assert (finding.level, finding.figures) == ("warning", {"days_left": 1})
    assert finding.seen.endswith("in 1 day")


def test_certificate_is_looked_at_through_a_proxy(
    service: Service, settings: Settings, ca: trustme.CA, bundle: str
) -> None:
    """Through a tunnel the certificate is that of the service."""
    context = ends_in(ca, 30.5)
    with (
        https(service, settings, context, CONFIG_SERVICE_CA_BUNDLE=bundle) as server,
        ScriptedServer(tunnel(server.port)) as proxy,
    ):
        settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONFIG_SERVICE_PROXY": proxy.url}
        found = examined()
    assert found["certificate"].figures == {"days_left": 30}
    assert found["name"].seen.startswith("the proxy")


def no_tls(service: Service, settings: Settings, context: ssl.SSLContext, **options: Any) -> str:
    """Return what is said where there is no TLS: the one error."""
    with https(service, settings, context, **options):
        found = examined()
    assert levels(found, "error") == {"tls"}
    assert "CONFIG_SERVICE_CA_BUNDLE" in found["tls"].do
    return found["tls"].seen


def test_certificate_that_has_ended(
    service: Service, settings: Settings, ca: trustme.CA, bundle: str
) -> None:
    """An expired certificate is one error, in OpenSSL's words."""
    seen = no_tls(service, settings, ends_in(ca, -1), CONFIG_SERVICE_CA_BUNDLE=bundle)
    assert "expired" in seen


def test_certificate_of_another_host(
    service: Service, settings: Settings, ca: trustme.CA, bundle: str
) -> None:
    """So is one of another host."""
    context = context_of(ca.issue_cert("other.example"))
    seen = no_tls(service, settings, context, CONFIG_SERVICE_CA_BUNDLE=bundle)
    assert "127.0.0.1" in seen


def test_authority_that_is_not_known(service: Service, settings: Settings, ca: trustme.CA) -> None:
    """So is one of an authority that is not trusted."""
    assert "certificate" in no_tls(service, settings, ends_in(ca, 90))


def test_answer_that_is_no_tls() -> None:
    """It is named as OpenSSL does, whatever the timing of the two sides."""
    sent = ssl.MemoryBIO()
    sent.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    ours = ssl.create_default_context().wrap_bio(sent, ssl.MemoryBIO(), server_hostname="service")
    with pytest.raises(ssl.SSLError) as raised:
        ours.do_handshake()
    assert why_no_tls(raised.value) == raised.value.reason
    assert why_no_tls(ConnectionResetError()) is None


def test_service_without_tls(service: Service, settings: Settings) -> None:
    """So is a service that speaks plain HTTP at an https URL."""
    url = service.server.url.replace("http:", "https:")
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONFIG_SERVICE_URL": url}
    found = examined()
    (failed,) = levels(found, "error")
    said = {"tls": "no TLS with the service: ", "answer": "no answer to a request ("}
    # The second where the server's reset overtakes what it answered to the handshake, or where it
    # waits for the end of a line, which the bytes of a handshake need not hold.
    assert found[failed].seen.startswith(said[failed])


def test_service_that_wants_our_certificate(
    service: Service, settings: Settings, ca: trustme.CA, bundle: str, tmp_path: Path
) -> None:
    """By --deep: a caller without our certificate is refused in the handshake."""
    path = tmp_path / "client.pem"
    ca.issue_cert("studio.example").private_key_and_cert_chain_pem.write_to_path(str(path))
    context = ends_in(ca, 90)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    options = {"CONFIG_SERVICE_CA_BUNDLE": bundle, "CONFIG_SERVICE_CLIENT_CERT": str(path)}
    with https(service, settings, context, **options):
        found = examined(deep=True)
    assert found["no credential"].level == "ok"
    assert found["no credential"].seen.startswith("refused without our certificate")
    assert found["wrong credential"].seen == "refused (401)"


class Trusting(HttpConfigService):
    """Verifies nothing."""

    def make_session(self) -> Session:
        session = super().make_session()
        adapter: Any = session.get_adapter("https://")
        adapter.poolmanager.connection_pool_kw["ssl_context"].check_hostname = False
        session.verify = False
        return session


def test_certificate_that_is_not_verified(
    service: Service, settings: Settings, ca: trustme.CA, recwarn: pytest.WarningsRecorder
) -> None:
    """A session that verifies no certificate is to be mended."""
    backend = {"CONFIG_SERVICE_BACKEND": Trusting}
    with https(service, settings, ends_in(ca, 90), **backend):
        finding = examined()["certificate"]
    assert (finding.level, finding.seen) == (
        "warning",
        "it is not verified: make_session turns that off",
    )


class OwnTransport(HttpConfigService):
    """Asks by the transport of requests."""

    def make_session(self) -> Session:
        session = super().make_session()
        session.mount("https://", HTTPAdapter())
        return session


def test_transport_of_its_own(
    service: Service, settings: Settings, ca: trustme.CA, bundle: str
) -> None:
    """With a transport of its own nothing is known of TLS; the rest is looked at."""
    options = {"CONFIG_SERVICE_CA_BUNDLE": bundle, "CONFIG_SERVICE_BACKEND": OwnTransport}
    with https(service, settings, ends_in(ca, 90), **options):
        found = examined()
    assert found["certificate"].level == found["tls"].level == "skipped"
    assert found["document"].level == "ok"
