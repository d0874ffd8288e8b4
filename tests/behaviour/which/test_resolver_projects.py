"""Which instance a project belongs to, in the resolver and in its asynchronous twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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
    get_resolver,
)
from instance_lookup.testing import override_instance_config
from tests.support.lookups import ADA, DOWN, OLGA, SAM, Clock, Service, Twin, acme, asks, project
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from instance_lookup.backends.base import Document, NotModified, Query


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def resolver(clock: Clock, service: Service) -> InstanceResolver:
    return InstanceResolver(config_service_backend=service)


def test_project(resolver: InstanceResolver, call: Twin, service: Service, clock: Clock) -> None:
    """The mapping of a project is cached like a config."""
    assert call(resolver, "resolve", project()).config.instance_id == "acme"
    call(resolver, "resolve", project())
    assert service.calls == [("get_project", "shop", "olga"), ("get_instance", "acme", "olga")]
    clock.now += 300
    service.failure = DOWN
    assert call(resolver, "resolve", project()).source is Source.STALE_CACHE


def test_project_stored_form(resolver: InstanceResolver) -> None:
    """A mapping has keys and fields of its own, and is never read as a config."""
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
    """A mapping to a malformed id is rejected, and does not replace a good one."""
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
    """A 503 for a project does not tell which instance it belongs to."""
    call(resolver, "resolve", project())
    resolver.invalidate_cache("acme")
    service.failure = ConfigServiceUnavailable("down", retry_after=7, reason="status", status=500)
    with pytest.raises(ConfigServiceUnavailable, match="project 'shop' is not") as caught:
        call(resolver, "resolve", project(SAM))
    assert caught.value.details == {"reason": "status", "status": 500, "project_id": "shop"}
    assert caught.value.retry_after == 7


def test_invalidate_project_bad_id(resolver: InstanceResolver, call: Twin) -> None:
    """A malformed project id is reported as such."""
    with pytest.raises(InvalidContext, match="not a valid project id"):
        call(resolver, "invalidate_project", "a b")


def requested(url: dict[str, str] | None = None, header: str | None = None) -> Any:
    """A request that was routed with kwargs of its URL, and perhaps names an instance."""
    headers = {} if header is None else {"X-Instance-ID": header}
    request = RequestFactory().get("/", headers=headers)
    request.resolver_match = ResolverMatch(len, (), url or {})
    return request


def headed(header: str, user: LookupUser = OLGA, **fields: Any) -> LookupContext:
    """A request whose header names an instance, and whose URL or caller names a project."""
    return asks(user, None, request=requested(fields.pop("url", None), header), **fields)


def given(instance_id: str, user: LookupUser = OLGA, **fields: Any) -> LookupContext:
    """A context whose instance the caller gives, out of a body, with a project from elsewhere."""
    request = requested(fields.pop("url", None))
    return LookupContext.from_request(request, user=user, instance_id=instance_id, **fields)


def job(instance_id: str, user: LookupUser = OLGA, **fields: Any) -> LookupContext:
    """A context without a request, with an instance and a project."""
    project_id = fields.pop("url", fields)["project_id"]
    return asks(user, instance_id, project_id=project_id)


Names = Callable[..., LookupContext]
NAMERS: list[Names] = [headed, given, job]


@pytest.mark.parametrize("names", NAMERS)
@pytest.mark.parametrize("where", ["url", "context"])
def test_instance_and_project_agree(
    resolver: InstanceResolver, call: Twin, where: str, names: Names
) -> None:
    """An instance and a project may both be named when they agree."""
    named = {"url": {"project_id": "shop"}} if where == "url" else {"project_id": "shop"}
    assert call(resolver, "resolve", names("acme", **named)).config.instance_id == "acme"


class Refusing(Service):
    """A service that refuses one project to all users."""

    def get_project(self, project_id: str, query: Query) -> Document | NotModified:
        if project_id == "refused":
            raise AccessDenied("not for you")
        return super().get_project(project_id, query)


@pytest.fixture
def refusing() -> Refusing:
    service = Refusing()
    service.instances["own"] = acme("own", instance_id="own")
    service.instances["foreign"] = acme("foreign", instance_id="foreign", metadata={"owner": "x"})
    service.projects |= {"foreigns": "foreign", "dangling": "gone"}
    return service


PROJECTS = ["shop", "nobodys", "refused", "foreigns", "dangling"]


@pytest.mark.parametrize("size", [0, 10])
@pytest.mark.parametrize("names", NAMERS)
@pytest.mark.parametrize("project_id", PROJECTS)
def test_instance_does_not_lead_past_the_project(
    *, refusing: Refusing, call: Twin, project_id: str, names: Names, size: int
) -> None:
    """The view works on the URL's project: it must not run in the instance of header or body.

    The error is the same for another user's project, an unknown one and a refused one.
    """
    resolver = InstanceResolver(config_service_backend=refusing, near_cache_size=size)
    for _ in range(2):  # the second time the instance is in the near cache
        call(resolver, "resolve", asks(OLGA, "own"))
    for _ in range(2):
        with pytest.raises(InvalidContext) as caught:
            call(resolver, "resolve", names("own", url={"project_id": project_id}))
        assert str(caught.value) == f"Project {project_id!r} does not belong to instance 'own'."
        assert caught.value.details == {"instance_id": "own"}


@pytest.mark.parametrize("names", NAMERS)
@pytest.mark.parametrize("project_id", PROJECTS)
@pytest.mark.parametrize("cached", [False, True])
def test_project_is_not_told_to_a_stranger(
    *, refusing: Refusing, call: Twin, project_id: str, names: Names, cached: bool
) -> None:
    """A stranger does not learn whether a pair is right, and the project is not asked for."""
    resolver = InstanceResolver(config_service_backend=refusing)
    if cached:
        for context in (asks(ADA), asks(ADA, None, project_id="shop")):
            resolver.resolve(context)
        refusing.calls.clear()
    with pytest.raises(AccessDenied, match="You may not use instance 'acme'"):
        call(resolver, "resolve", names("acme", SAM, url={"project_id": project_id}))
    assert not [asked for verb, asked, _ in refusing.calls if verb == "get_project"]


@pytest.mark.parametrize("names", NAMERS)
@pytest.mark.parametrize("project_id", PROJECTS)
def test_project_of_an_unknown_instance(
    refusing: Refusing, call: Twin, project_id: str, names: Names
) -> None:
    """An unknown instance is "not found", with each project."""
    resolver = InstanceResolver(config_service_backend=refusing)
    with pytest.raises(InstanceNotFound, match="Instance 'gone' does not exist"):
        call(resolver, "resolve", names("gone", url={"project_id": project_id}))


@pytest.mark.parametrize("names", NAMERS)
def test_project_that_cannot_be_asked_for(
    resolver: InstanceResolver, call: Twin, service: Service, names: Names
) -> None:
    """When the project cannot be asked for, the instance is not given."""
    call(resolver, "resolve", asks())
    service.failure = DOWN
    with pytest.raises(ConfigServiceUnavailable, match="instance 'acme' is not") as caught:
        call(resolver, "resolve", names("acme", url={"project_id": "shop"}))
    assert caught.value.details["instance_id"] == "acme"


@pytest.mark.parametrize("names", [headed, given])
def test_instance_and_malformed_project(
    resolver: InstanceResolver, call: Twin, names: Names
) -> None:
    """A malformed project in the URL fails the lookup, though a valid instance is named."""
    with pytest.raises(InvalidContext, match="not a valid project id"):
        call(resolver, "resolve", names("acme", url={"project_id": "a b"}))


def test_project_is_refreshed_ahead_with_the_instance(
    resolver: InstanceResolver, call: Twin, service: Service, clock: Clock
) -> None:
    """The instance and the project's mapping are both refreshed in the background."""
    context = given("acme", url={"project_id": "shop"})
    call(resolver, "resolve", context)
    service.calls.clear()
    clock.now += 299.9
    call(resolver, "resolve", context)
    wait_until(lambda: len(service.calls) == 2)
    assert {verb for verb, *_ in service.calls} == {"get_instance", "get_project"}


@pytest.mark.parametrize("size", [0, 10])
def test_instance_at_hand_without_a_project(service: Service, size: int) -> None:
    """A request whose URL has no project is answered from memory, as a context without one."""
    resolver = InstanceResolver(config_service_backend=service, near_cache_size=size)
    for context in (given("acme"), asks()):
        for _ in range(3):
            assert resolver.resolve(context).config.instance_id == "acme"
    assert len(service.calls) == 1


def test_override_answers_whatever_the_project() -> None:
    """A test that overrides the instance needs no project: no service is asked."""
    for context in (given("acme", url={"project_id": "p"}), job("acme", project_id="p")):
        with override_instance_config("other"):
            assert get_resolver().resolve(context).config.instance_id == "other"
