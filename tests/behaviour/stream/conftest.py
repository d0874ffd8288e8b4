from __future__ import annotations

# What the tests of other calls to the service share: each way to it, with TLS and through a proxy.
from tests.behaviour.http.conftest import route, tls

__all__ = ["route", "tls"]
