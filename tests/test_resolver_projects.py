"""Which instance a project belongs to, in the resolver and in its asynchronous twin."""

from __future__ import annotations

import pytest
from django.core.cache import caches
from django.test import RequestFactory
from django.urls import ResolverMatch

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceNotFound,
    InstanceResolver,
    InvalidContext,
    LookupContext,
    LookupUser,
    Source,
)
from tests.lookups import ADA, OLGA, SAM, TWINS, Clock, Service, Twin, acme, asks

DOWN = ConfigServiceUnavailable("down", reason="status")


@pytest.fixture(params=TWINS)
def call(request: pytest.FixtureRequest) -> Twin:
    twin: Twin = request.param
    return twin


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def resolver(clock: Clock, service: Service) -> InstanceResolver:
    return InstanceResolver(config_service_backend=service)


def project(user: LookupUser = OLGA, project_id: str = "shop") -> LookupContext:
    return asks(user, None, project_id=project_id)


def test_project(resolver: InstanceResolver, call: Twin, service: Service, clock: Clock) -> None:
    """The mapping of a project is cached like a config."""
    assert call(resolver, "resolve", project()).config.instance_id == "acme"
    call(resolver, "resolve", project())
    assert service.calls == [("get_project", "shop", "olga"), ("get_instance", "acme", "olga")]
    clock.now += 300
    service.failure = DOWN
    assert call(resolver, "resolve", project()).source is Source.STALE_CACHE


def test_project_stored_form(resolver: InstanceResolver) -> None:
    """A mapping is stored under names of its own, never taken for a config."""
    resolver.resolve(project())
    stored = caches["default"].get("instance_project:shop")
    assert '"project_id":"shop"' in stored
    assert caches["default"].get("instance_config:shop") is None


def test_project_unknown(resolver: InstanceResolver, call: Twin, service: Service) -> None:
    """An unknown project is "not found" by the name it was asked for, and remembered."""
    for _ in range(2):
        with pytest.raises(InstanceNotFound, match="Project 'nothing' does not exist") as caught:
            call(resolver, "resolve", project(project_id="nothing"))
    assert caught.value.details == {"project_id": "nothing"}
    assert len(service.calls) == 1


def test_project_denied_by_service(
    resolver: InstanceResolver, call: Twin, service: Service
) -> None:
    """A project that the service refuses is refused; the mapping stays for the others."""
    service.failure = AccessDenied("no")
    with pytest.raises(AccessDenied, match="project 'shop'"):
        call(resolver, "resolve", project())
    service.failure = None
    with pytest.raises(AccessDenied):
        call(resolver, "resolve", project())
    assert call(resolver, "resolve", project(ADA)).source is Source.SERVICE


def test_project_renamed(resolver: InstanceResolver, call: Twin, service: Service) -> None:
    """A project that moved to another instance is found there once it is invalidated."""
    call(resolver, "resolve", project())
    service.instances["beta"] = acme("beta", instance_id="beta")
    service.projects["shop"] = "beta"
    assert call(resolver, "resolve", project()).config.instance_id == "acme"
    assert call(resolver, "invalidate_project", "shop") is True
    assert call(resolver, "resolve", project()).config.instance_id == "beta"


def test_project_mapped_to_no_id(
    resolver: InstanceResolver, call: Twin, service: Service, clock: Clock
) -> None:
    """A mapping to something that is no id is rejected, and does not replace a good one."""
    call(resolver, "resolve", project())
    clock.now += 300
    service.projects["shop"] = "../acme"
    assert call(resolver, "resolve", project()).config.instance_id == "acme"
    assert resolver.get_cache_stats().rejected == 1
    service.projects["else"] = "../acme"
    with pytest.raises(ConfigServiceUnavailable) as caught:
        call(resolver, "resolve", project(project_id="else"))
    assert caught.value.details == {"reason": "rejected", "project_id": "else"}


def test_project_of_unavailable_instance(
    resolver: InstanceResolver, call: Twin, service: Service, clock: Clock
) -> None:
    """Who named a project is not told, by a 503, which instance it belongs to."""
    call(resolver, "resolve", project())
    resolver.invalidate_cache("acme")
    service.failure = ConfigServiceUnavailable("down", retry_after=7, reason="status", status=500)
    with pytest.raises(ConfigServiceUnavailable, match="project 'shop' is not") as caught:
        call(resolver, "resolve", project(SAM))
    assert caught.value.details == {"reason": "status", "status": 500, "project_id": "shop"}
    assert caught.value.retry_after == 7


def test_invalidate_project_bad_id(resolver: InstanceResolver, call: Twin) -> None:
    """What is no project id is called that."""
    with pytest.raises(InvalidContext, match="not a valid project id"):
        call(resolver, "invalidate_project", "a b")


def headed(header: str, **fields: object) -> LookupContext:
    """A request whose header names an instance, and whose URL or caller names a project."""
    request = RequestFactory().get("/", headers={"X-Instance-ID": header})
    if kwargs := fields.pop("url", None):
        request.resolver_match = ResolverMatch(len, (), kwargs)  # type: ignore[arg-type]
    return asks(OLGA, None, request=request, **fields)


@pytest.mark.parametrize("where", ["url", "context"])
def test_header_and_project_agree(
    resolver: InstanceResolver, call: Twin, service: Service, where: str
) -> None:
    """Both may be named, if they mean the same instance."""
    named = {"url": {"project_id": "shop"}} if where == "url" else {"project_id": "shop"}
    assert call(resolver, "resolve", headed("acme", **named)).config.instance_id == "acme"


@pytest.mark.parametrize("project_id", ["shop", "nobodys", "refused"])
def test_header_does_not_lead_past_the_project(
    resolver: InstanceResolver, call: Twin, service: Service, project_id: str
) -> None:
    """The view works on the URL's project: it must not run in the instance of the header.

    Another's project reads the same as nobody's, and as one that the service refuses.
    """
    service.instances["own"] = acme("own", instance_id="own")
    service.failure = AccessDenied("not for you") if project_id == "refused" else None
    with pytest.raises(InvalidContext) as caught:
        call(resolver, "resolve", headed("own", url={"project_id": project_id}))
    assert str(caught.value) == f"Project {project_id!r} does not belong to instance 'own'."


def test_header_and_malformed_project(resolver: InstanceResolver, call: Twin) -> None:
    """What is malformed fails the lookup, even where something else is named as well."""
    with pytest.raises(InvalidContext, match="not a valid project id"):
        call(resolver, "resolve", headed("acme", url={"project_id": "a b"}))
