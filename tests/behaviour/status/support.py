"""A site that reports, and whose Config Service and cache fail when they are told to."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.core.cache import caches

from instance_lookup import InstanceLookupError, InstanceResolver, get_resolver
from instance_lookup.events import ServiceCall
from instance_lookup.operations.reporter import Reporter
from instance_lookup.operations.reports import Fleet, read_reports
from tests.support.canary import CANARY
from tests.support.lookups import asks, hooks
from tests.support.servers import Answer, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

BODY = (
    b'{"instance_id": "acme", "api_keys": {"openai": "%(key)s"}, "metadata":'
    b' {"owner": "olga", "name": "Acme Inc", "tenant_id": "t1"}}'
)


@dataclass
class Site:
    server: ScriptedServer
    reporters: list[Reporter] = field(default_factory=list)

    @property
    def resolver(self) -> InstanceResolver:
        return get_resolver()

    @property
    def fleet(self) -> Fleet:
        return read_reports(self.resolver)

    def answer(self, status: int = 200) -> None:
        self.server.answers = Answer(status, BODY.replace(b"%(key)s", CANARY.encode()))

    def look_up(self, instance_id: str = "acme") -> str:
        """Look up, and return the source, or the type of the error."""
        try:
            return self.resolver.resolve(asks(instance_id=instance_id)).source.value
        except InstanceLookupError as exc:
            return exc.type.value

    def report(self, *calls: ServiceCall, reporter: Reporter | None = None) -> Reporter:
        """Report ``calls`` as a process does, a new one unless there is a ``reporter``."""
        reporter = reporter or Reporter()
        for each in calls:
            reporter.recorder.record(each)
        reporter.report(self.resolver)
        return reporter


def call(asked: str = "acme", outcome: str = "ok", **fields: Any) -> ServiceCall:
    """Return a call that ended a moment ago."""
    values: dict[str, Any] = {
        "kind": "instance",
        "status": 200,
        "began": time() - 5.0,
        "seconds": 0.12,
        "request_id": "req-1",
    }
    return ServiceCall(asked=asked, outcome=outcome, **values | fields)


@contextmanager
def serve(settings: Settings, alias: str) -> Iterator[Site]:
    """Yield a site on the cache ``alias``."""
    with ScriptedServer() as server:
        settings.INSTANCE_LOOKUP = {
            "CONFIG_SERVICE_URL": server.url,
            "CACHE_ALIAS": alias,
            "NEAR_CACHE_SIZE": 0,
        }
        if alias == "default":
            caches_of = {"BACKEND": "tests.support.lookups.HookedCache", "LOCATION": uuid4().hex}
            settings.CACHES = {**settings.CACHES, alias: caches_of}
        site = Site(server)
        site.answer()
        yield site


@contextmanager
def cache_down() -> Iterator[None]:
    """Have the cache ``default`` of a site fail."""

    def fail(verb: str, key: str) -> None:
        raise OSError(f"{verb} {CANARY}")

    with hooks(fail):
        yield


def everything_in(alias: str) -> str:
    """Return all that a LocMemCache holds, as text."""
    return repr(vars(caches[alias])["_cache"])
