"""The ways a Config Service fails, and a resolver that asks it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from instance_lookup import ConfigServiceUnavailable, InstanceResolver
from instance_lookup.backends.http import HttpConfigService
from tests.support.lookups import OLGA, Twin, asks
from tests.support.servers import (
    Answer,
    Script,
    ScriptedServer,
    drip_body,
    drip_chunks,
    drip_headers,
    free_port,
    mute,
    reset,
    truncated,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup import LookupUser
    from instance_lookup.backends.base import Document, NotModified, Query

TIMEOUT, SOFT = 0.4, 0.1
"""Seconds, for services that are slow: to wait for them is what takes time in a test."""
PATIENT: dict[str, Any] = {"config_service_timeout": 20, "soft_timeout": 20}
"""For services that answer at once, which on a loaded machine may be later than the above."""
SYNC = Twin(is_async=False)

HTML = Answer(200, b"<h1>Sign in</h1>", {"Content-Type": "text/html"})
REFUSING: dict[str, Script | None] = {"refusing": None}
SLOW: dict[str, Script | None] = {
    "hanging": mute(),
    "dripping headers": drip_headers(),
    "dripping body": drip_body(),
    "dripping chunks": drip_chunks(),
}
FAILING: dict[str, Script | None] = {
    **REFUSING,
    **SLOW,
    "resetting": reset(),
    "truncating": truncated(b"{}"),
    "500": Answer(500),
    "503": Answer(503, headers={"Retry-After": "7"}),
    "redirect": Answer(302, headers={"Location": "/login"}),
}
"""What concerns the service as a whole, so that the circuit breaker counts it."""
LIMITED = Answer(429, headers={"Retry-After": "86400"})
FAULTS = {**FAILING, "429": LIMITED, "html": HTML}


class Counting(HttpConfigService):
    """Counts the calls, since a port that refuses connections cannot."""

    calls = 0

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        self.calls += 1
        return super().get_instance(instance_id, query)


@contextmanager
def service(script: Script | None) -> Iterator[Counting]:
    """Yield a client of a service with this fault."""
    if script is None:
        yield Counting(url=f"http://127.0.0.1:{free_port()}")
        return
    with ScriptedServer(script) as server:
        client = Counting(url=server.url)
        yield client
        assert len(server.received) <= client.calls


def make(client: HttpConfigService | str, **options: Any) -> InstanceResolver:
    """Return a resolver that asks ``client``, or the URL."""
    if isinstance(client, str):
        client = HttpConfigService(url=client)
    limits = {"config_service_timeout": TIMEOUT, "soft_timeout": SOFT, **options}
    return InstanceResolver(config_service_backend=client, **limits)


def outcome(
    resolver: InstanceResolver, name: str = "acme", twin: Twin = SYNC, *, user: LookupUser = OLGA
) -> str:
    """Return where the answer came from, or why there was none."""
    try:
        return str(twin(resolver, "resolve", asks(user, name)).source)
    except ConfigServiceUnavailable as exc:
        return str(exc.details["reason"])
