"""The order of things, in the resolver and in its asynchronous twin."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory

from instance_lookup import (
    AccessDenied,
    CacheStats,
    ConfigServiceUnavailable,
    InstanceConfig,
    InstanceLookupError,
    InstanceNotFound,
    InstanceResolver,
    InvalidContext,
    LookupContext,
    LookupUser,
    Source,
)
from instance_lookup.backends.base import Page
from instance_lookup.backends.memory import DictConfigService
from instance_lookup.identifiers import PathIdentifier
from tests.support.lookups import ADA, DOWN, OLGA, Clock, Service, Twin, acme, asks, project

if TYPE_CHECKING:
    from instance_lookup.backends.base import Query

UNUSED_CACHE = "an alias that is not there"


class Paged(DictConfigService):
    """A service that lists its ids in pages of two."""

    def list_instances(self, query: Query, cursor: str | None = None) -> Page:
        everything = super().list_instances(query, cursor).instance_ids
        start = int(cursor or 0)
        following = str(start + 2) if start + 2 < len(everything) else None
        return Page(everything[start : start + 2], following)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def resolver(clock: Clock, service: Service) -> InstanceResolver:
    return InstanceResolver(config_service_backend=service)


def test_from_service_then_cache(resolver: InstanceResolver, call: Twin, clock: Clock) -> None:
    """The first lookup asks the service, the next the cache."""
    first = call(resolver, "resolve", asks())
    clock.now += 10
    second = call(resolver, "resolve", asks())
    assert (first.source, first.ttl_remaining) == (Source.SERVICE, 300)
    assert (second.source, second.ttl_remaining) == (Source.CACHE, 290)
    assert first.config == second.config
    assert first.cached_at == second.cached_at == clock.now - 10


def test_stale(resolver: InstanceResolver, call: Twin, clock: Clock, service: Service) -> None:
    """When the service is down the stale copy is served."""
    call(resolver, "resolve", asks())
    clock.now += 300
    service.failure = DOWN
    result = call(resolver, "resolve", asks())
    assert (result.source, result.ttl_remaining) == (Source.STALE_CACHE, 0.0)


@pytest.mark.parametrize("user", [LookupUser.anonymous(), LookupUser(""), LookupUser("  ")])
def test_anonymous(call: Twin, service: Service, user: LookupUser) -> None:
    """Anonymous callers are refused before the id, the cache or the service is looked at."""
    resolver = InstanceResolver(config_service_backend=service, cache_alias=UNUSED_CACHE)
    for instance_id in ("acme", "nobody", "not an id"):
        with pytest.raises(AccessDenied, match="Anonymous callers"):
            call(resolver, "resolve", asks(user, instance_id))
    assert service.calls == []


def test_anonymous_allowed_still_needs_policy(call: Twin, service: Service) -> None:
    """ALLOW_ANONYMOUS lets the policy decide; the default policy lets no anonymous caller in."""
    resolver = InstanceResolver(config_service_backend=service, allow_anonymous=True)
    with pytest.raises(AccessDenied, match="instance 'acme'"):
        call(resolver, "resolve", asks(LookupUser.anonymous()))
    service.instances["acme"] = acme("first", metadata={"owner": ""})
    resolver.invalidate_cache("acme")
    with pytest.raises(AccessDenied):
        call(resolver, "resolve", asks(LookupUser("")))


def test_service_user(call: Twin, service: Service) -> None:
    """The site itself may have every instance, and asks under its own name."""
    resolver = InstanceResolver(config_service_backend=service, config_service_user_id="the-site")
    assert call(resolver, "resolve", asks(LookupUser.service())).source is Source.SERVICE
    assert service.calls == [("get_instance", "acme", "the-site")]


@pytest.mark.parametrize("bad", ["", " acme", "acme,beta", "../acme", "x" * 65, "acme\n"])
def test_malformed_id(call: Twin, service: Service, bad: str) -> None:
    """A malformed id fails before any I/O, and does not fall through to the user's default."""
    resolver = InstanceResolver(config_service_backend=service, cache_alias=UNUSED_CACHE)
    olga = LookupUser("olga", default_instance_id="acme")
    with pytest.raises(InvalidContext):
        call(resolver, "resolve", asks(olga, bad))
    with pytest.raises(InvalidContext):
        call(resolver, "resolve", project(olga, bad))
    request = RequestFactory().get("/", headers={"X-Instance-ID": bad})
    with pytest.raises(InvalidContext):
        call(resolver, "resolve", LookupContext(user=olga, request=request))
    assert service.calls == []


@pytest.mark.parametrize(
    ("named", "error"),
    [
        ({"instance_id": "nobody"}, InstanceNotFound),
        ({"instance_id": "theirs"}, AccessDenied),
        ({"instance_id": None, "project_id": "nothing"}, InstanceNotFound),
        ({"instance_id": None, "project_id": "theirs"}, AccessDenied),
        ({"instance_id": None, "project_id": "to-nobody"}, InstanceNotFound),
    ],
)
def test_strict(
    resolver: InstanceResolver,
    call: Twin,
    service: Service,
    named: dict[str, Any],
    error: type[InstanceLookupError],
) -> None:
    """A named instance that is unknown or denied fails the lookup; no default is tried."""
    service.instances["theirs"] = acme("first", instance_id="theirs", metadata={"owner": "sam"})
    service.projects |= {"theirs": "theirs", "to-nobody": "nobody"}
    olga = LookupUser("olga", default_instance_id="acme")
    with pytest.raises(error):
        call(resolver, "resolve", asks(olga, **named))
    assert ("get_instance", "acme", "olga") not in service.calls


def test_nothing_named(resolver: InstanceResolver, call: Twin) -> None:
    """A lookup that names no instance fails."""
    with pytest.raises(InvalidContext, match="names no instance"):
        call(resolver, "resolve", asks(instance_id=None))


def test_order_of_identifiers(resolver: InstanceResolver, call: Twin, service: Service) -> None:
    """Given id, header, project, default: the first that names something wins."""
    for name in ("given", "header", "default"):
        service.instances[name] = acme(name, instance_id=name)
    user = LookupUser("olga", default_instance_id="default")
    request = RequestFactory().get("/", headers={"X-Instance-ID": "header"})
    headed: dict[str, Any] = {"request": request}
    project = {"project_id": "shop"}
    for name, fields in [("given", headed), ("header", headed), ("acme", project), ("default", {})]:
        given = "given" if name == "given" else None
        result = call(resolver, "resolve", asks(user, given, **fields))
        assert result.config.instance_id == name


def test_refresh(resolver: InstanceResolver, call: Twin, service: Service) -> None:
    """Refreshing asks the service for the site itself, and stores the answer."""
    call(resolver, "resolve", asks())
    service.instances["acme"] = acme("second")
    result = call(resolver, "refresh", "acme")
    assert (result.source, result.config.r2_bucket) == (Source.SERVICE, "second")
    assert call(resolver, "resolve", asks()).config.r2_bucket == "second"


def test_refresh_fails(resolver: InstanceResolver, call: Twin, service: Service) -> None:
    """Refreshing says what went wrong rather than giving the copy."""
    call(resolver, "resolve", asks())
    with pytest.raises(InvalidContext):
        call(resolver, "refresh", "a b")
    with pytest.raises(InstanceNotFound, match="Instance 'nobody' does not exist"):
        call(resolver, "refresh", "nobody")
    service.failure = DOWN
    with pytest.raises(ConfigServiceUnavailable):
        call(resolver, "refresh", "acme")


def test_instance_ids_pages() -> None:
    """All pages of the list are read, as they are needed."""
    ids = [f"i{number}" for number in range(5)]
    paged = Paged({name: {} for name in ids})
    listing = InstanceResolver(config_service_backend=paged).instance_ids()
    assert paged.calls == []
    assert next(listing) == "i0"
    assert len(paged.calls) == 1
    assert list(listing) == ids[1:]
    assert [cursor for _, cursor, _ in paged.calls] == [None, "2", "4"]


def test_instance_ids_circle() -> None:
    """A list whose pages lead back to one another ends."""

    class Circle(DictConfigService):
        def list_instances(self, query: Query, cursor: str | None = None) -> Page:
            return Page(("acme",), "b" if cursor == "a" else "a")

    listing = InstanceResolver(config_service_backend=Circle).instance_ids()
    with pytest.raises(ConfigServiceUnavailable, match="in a circle"):
        list(islice(listing, 10))


def test_management(resolver: InstanceResolver, call: Twin, service: Service) -> None:
    """Warming, invalidating and counting go to the resolver's own cache."""
    config = InstanceConfig(instance_id="warm", r2_bucket="x")
    assert call(resolver, "warm_cache", [config]) == 1
    assert call(resolver, "resolve", asks(ADA, "warm")).source is Source.CACHE
    assert call(resolver, "invalidate_cache", "warm") is True
    call(resolver, "invalidate_all_caches")
    with pytest.raises(InstanceNotFound):
        call(resolver, "resolve", asks(ADA, "warm"))
    assert resolver.get_cache_stats() == CacheStats(hits=1, misses=1, evictions=1)


def test_permits(resolver: InstanceResolver) -> None:
    """``permits`` asks another policy than ACCESS_POLICY, with the resolver's settings."""
    from instance_lookup.access import IsAdmin

    config = InstanceConfig(instance_id="acme")
    assert resolver.permits(IsAdmin(), ADA, config)
    assert not resolver.permits(IsAdmin(), OLGA, config)


def test_options(service: Service) -> None:
    """Classes, paths and objects will all do; what is wrong is said at once."""
    resolver = InstanceResolver(
        config_service_backend=DictConfigService,
        identifiers=[PathIdentifier(), "instance_lookup.identifiers.HeaderIdentifier"],
        instance_header="X-Tenant",
    )
    assert resolver.vary_headers == ("X-Tenant",)
    assert isinstance(resolver.backend, DictConfigService)
    with pytest.raises(ImproperlyConfigured, match="CACHE_TTL"):
        InstanceResolver(cache_tll=1)  # type: ignore[call-arg]  # that is the point


def test_backend_class_without_from_settings() -> None:
    """The protocol is three methods; `from_settings` is not one of them."""

    class Bare:
        def get_instance(self) -> None: ...
        def get_project(self) -> None: ...
        def list_instances(self) -> None: ...

    assert isinstance(InstanceResolver(config_service_backend=Bare).backend, Bare)
