"""A Config Service whose certificate has expired."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import trustme
from django.test import override_settings

from instance_lookup import ConfigServiceUnavailable, InstanceResolver, Source
from tests.outages.outages import config, healthy, lines
from tests.support.lookups import TWINS, Clock, Twin, asks, hooked_caches
from tests.support.servers import ScriptedServer
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOFT = 0.2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ScriptedServer]:
    """A healthy service whose certificate has expired."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    ca.issue_cert("127.0.0.1", not_after=yesterday).configure_cert(context)
    with ScriptedServer(healthy, tls=context) as server:
        yield server


@pytest.fixture
def resolver(server: ScriptedServer, tmp_path: Path) -> Iterator[InstanceResolver]:
    with override_settings(CACHES=hooked_caches()):
        yield InstanceResolver(
            config_service_url=server.url,
            config_service_ca_bundle=tmp_path / "ca.pem",
            soft_timeout=SOFT,
        )


@pytest.mark.parametrize("twin", TWINS)
def test_stale_copy_bridges(
    twin: Twin,
    server: ScriptedServer,
    resolver: InstanceResolver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One handshake is tried, no request is sent, and the stale copy is served."""
    clock = Clock(monkeypatch)
    resolver.warm_cache([config()])
    clock.now += 300
    with within(SOFT):
        sources = {twin(resolver, "resolve", asks()).source for _ in range(20)}
    assert sources == {Source.STALE_CACHE}
    wait_until(lambda: lines(caplog))  # callers are answered by the soft timeout at the latest
    assert (server.connections, server.received) == (1, [])
    (line,) = lines(caplog)
    assert line.startswith(
        f"The Config Service at {server.url} gave no usable answer for instance 'acme': "
        "unreachable (SSLCertVerificationError). "
    )


@pytest.mark.parametrize("twin", TWINS)
def test_without_copy(twin: Twin, resolver: InstanceResolver) -> None:
    """Without a copy the answer is 503 with Retry-After."""
    with pytest.raises(ConfigServiceUnavailable) as caught:
        twin(resolver, "resolve", asks())
    assert caught.value.retry_after == 30
