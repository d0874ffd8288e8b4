from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from tests.behaviour.http.routes import ROUTES, Route, open_route, sockets_noted
from tests.support.servers import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package", autouse=True)
def _sockets_noted() -> Iterator[None]:
    with sockets_noted():
        yield


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """The context of a server on 127.0.0.1, and the file of the authority that vouches for it."""
    import trustme  # an extra: tests that take this fixture are marked

    ca = trustme.CA()
    bundle = tmp_path_factory.mktemp("tls") / "ca.pem"
    ca.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context, str(bundle)


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest) -> Iterator[Route]:
    """Each way to the service in turn; its ``server.answers`` are the test's to choose."""
    kind: str = request.param
    secure = request.getfixturevalue("tls") if kind.startswith("https") else None
    with open_route(kind, Answer(200, b"{}"), secure) as route:
        yield route
