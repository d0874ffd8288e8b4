"""The first look into the cache of all processes: it answers hits, and is not done twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from instance_lookup import AccessDenied, InstanceNotFound, InstanceResolver, Source
from instance_lookup.identifiers import Identifier, InstanceRef
from tests.support.lookups import (
    DOWN,
    OLGA,
    SAM,
    Clock,
    Service,
    acme,
    asks,
    hooked_caches,
    hooks,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance_lookup.context import LookupContext


@pytest.fixture(autouse=True)
def _cache() -> Iterator[None]:
    with override_settings(CACHES=hooked_caches()):
        yield


@pytest.fixture
def service() -> Service:
    return Service()


def resolver_of(service: Service, **options: Any) -> InstanceResolver:
    return InstanceResolver(config_service_backend=service, near_cache_size=0, **options)


def reads(resolver: InstanceResolver, context: LookupContext) -> list[str]:
    """Look up, and return which entries were read; an error is an answer, too."""
    found: list[str] = []

    def note(verb: str, key: str) -> None:
        name, _, asked = key.partition(":")
        if verb == "get" and name == "instance_config":
            found.append(asked)

    with hooks(note):
        try:
            resolver.resolve(context)
        except (AccessDenied, InstanceNotFound):
            found.append("error")
    return found


@pytest.mark.parametrize(
    ("context", "expected"),
    [(asks(), ["acme"]), (asks(SAM), ["acme", "error"])],
    ids=["owner", "other"],
)
def test_hit_is_read_once(service: Service, context: LookupContext, expected: list[str]) -> None:
    """A hit costs one look into the cache, also for a user who may not have it."""
    resolver = resolver_of(service)
    resolver.resolve(asks())
    assert reads(resolver, context) == expected


def test_stale_copy_is_what_the_first_look_found(service: Service, clock: Clock) -> None:
    """A copy that is served while the id rests costs one look as well."""
    resolver = resolver_of(service)
    resolver.resolve(asks())
    clock.now += 400
    service.failure = DOWN
    assert resolver.resolve(asks()).source is Source.STALE_CACHE  # asks, and fails
    assert reads(resolver, asks()) == ["acme"]


def test_negative_hit_is_read_once(service: Service) -> None:
    """An id that is known not to exist costs one look, and no call."""
    resolver = resolver_of(service)
    with pytest.raises(InstanceNotFound):
        resolver.resolve(asks(instance_id="ghost"))
    assert reads(resolver, asks(instance_id="ghost")) == ["ghost", "error"]
    assert len(service.calls) == 1


class Fickle(Identifier):
    """Names another instance each time, which an identifier of a project should not do."""

    def __init__(self) -> None:
        self.names = ["acme", "globex"]

    def identify(self, context: LookupContext, request: object = None) -> InstanceRef:
        return InstanceRef(self.names.pop(0) if len(self.names) > 1 else self.names[0])


def test_what_was_read_is_of_the_instance_that_was_named(service: Service) -> None:
    """The instance is named once: no entry is taken for that of another one."""
    service.instances["globex"] = acme("other", instance_id="globex")
    resolver = resolver_of(service, identifiers=(Fickle(),))
    result = resolver.resolve(asks(instance_id=None))
    assert result.config.instance_id == "acme"


def test_user_whom_the_service_refused_gets_no_hit(service: Service) -> None:
    """A 403 holds on the first look as well, whatever the cache holds."""
    resolver = resolver_of(service)
    resolver.resolve(asks())
    resolver._load_config._refusals.note(OLGA, "acme")
    with pytest.raises(AccessDenied):
        resolver.resolve(asks())
