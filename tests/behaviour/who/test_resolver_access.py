"""What refusals tell, which receivers hear of lookups, and what no caller ever sees."""

from __future__ import annotations

import logging
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceConfig,
    InstanceLookupError,
    InstanceNotFound,
    InstanceResolver,
    InvalidContext,
    LookupUser,
    RequestMetadata,
)
from instance_lookup.access import IsOwner, Policy
from instance_lookup.signals import access_denied, instance_resolved, instance_stale_served
from tests.support.lookups import (
    ADA,
    DOWN,
    OLGA,
    SAM,
    SECRET,
    Clock,
    Service,
    Twin,
    acme,
    asks,
    hooked_caches,
    hooks,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.dispatch import Signal

    from instance_lookup.backends.base import Document, NotModified, Query


class Denying(Service):
    """A service that says 403 to Sam."""

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        found = super().get_instance(instance_id, query)
        if query.user_id == "sam":
            raise AccessDenied("not for this user", instance_id=instance_id)
        return found


class Everybody(Policy):
    """A policy that lets each user in."""

    def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
        return True


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def resolver(clock: Clock, service: Service) -> InstanceResolver:
    return InstanceResolver(config_service_backend=service)


@contextmanager
def hearing(signal: Signal, *, is_async: bool = False) -> Iterator[list[dict[str, Any]]]:
    """Collect what a signal says, with receivers before and after that fail."""
    heard: list[dict[str, Any]] = []

    def broken(**kwargs: object) -> None:
        raise RuntimeError("a receiver's own trouble")

    async def abroken(**kwargs: object) -> None:
        raise RuntimeError("a receiver's own trouble")

    def receiver(*, sender: object, signal: Signal, **about: Any) -> None:
        heard.append(about)

    async def areceiver(*, sender: object, signal: Signal, **about: Any) -> None:
        heard.append(about)

    receivers = (broken, abroken, areceiver if is_async else receiver)
    for each in receivers:
        signal.connect(each)
    try:
        yield heard
    finally:
        for each in receivers:
            signal.disconnect(each)


def told(error: InstanceLookupError, name: str) -> tuple[object, ...]:
    """Return all that a caller sees of an error, with ``name`` replaced by "?"."""
    details = {key: str(value).replace(name, "?") for key, value in error.details.items()}
    message = str(error).replace(name, "?")
    return type(error), error.type, error.status_code, message, error.args[1:], details


def error_of(call: Twin, resolver: InstanceResolver, **fields: Any) -> InstanceLookupError:
    with pytest.raises(InstanceLookupError) as caught:
        call(resolver, "resolve", asks(SAM, **fields))
    return caught.value


@pytest.mark.parametrize("by_service", [False, True])
@pytest.mark.parametrize("cached", [False, True])
def test_conceal_denied(call: Twin, clock: Clock, by_service: bool, cached: bool) -> None:
    """With CONCEAL_DENIED a denial has exactly the error of an unknown id."""
    service = Denying() if by_service else Service()
    policy = Everybody() if by_service else IsOwner()
    resolver = InstanceResolver(
        config_service_backend=service, conceal_denied=True, access_policy=policy
    )
    if cached:
        resolver.resolve(asks())
        clock.now += 300
    for _ in range(2):
        denied = error_of(call, resolver)
        missing = error_of(call, resolver, instance_id="nobody")
        assert told(denied, "acme") == told(missing, "nobody")
        assert isinstance(denied, InstanceNotFound)
        denied = error_of(call, resolver, instance_id=None, project_id="shop")
        missing = error_of(call, resolver, instance_id=None, project_id="nothing")
        assert told(denied, "shop") == told(missing, "nothing")


def test_denied_via_project_names_project(resolver: InstanceResolver, call: Twin) -> None:
    """A caller who named a project is refused the project, and does not learn the instance's id."""
    denied = error_of(call, resolver, instance_id=None, project_id="shop")
    assert isinstance(denied, AccessDenied)
    assert denied.details == {"project_id": "shop"}
    assert "acme" not in str(denied)


def test_every_source_is_authorized(
    resolver: InstanceResolver, call: Twin, clock: Clock, service: Service
) -> None:
    """A stranger is refused, whatever the source: service, cache, stale copy or project."""
    for source in ("service", "cache", "stale"):
        if source == "stale":
            clock.now += 300
            service.failure = DOWN
        for fields in ({}, {"instance_id": None, "project_id": "shop"}):
            with pytest.raises(AccessDenied):
                call(resolver, "resolve", asks(SAM, **fields))
        assert call(resolver, "resolve", asks(OLGA))
        assert call(resolver, "resolve", asks(ADA))


def test_refusal_by_service_drops_copy(call: Twin, clock: Clock) -> None:
    """A refusal by the service drops the copy, which would still let that user in."""
    service = Denying()
    resolver = InstanceResolver(config_service_backend=service, access_policy=Everybody())
    call(resolver, "resolve", asks())
    clock.now += 300
    error_of(call, resolver)
    service.failure = DOWN
    with pytest.raises(ConfigServiceUnavailable):
        call(resolver, "resolve", asks())


def test_refusal_by_service_and_cache_down(call: Twin, clock: Clock) -> None:
    """A refusal stays a refusal when the copy cannot be dropped."""

    def fail(verb: str, key: str) -> None:
        if verb in {"set", "delete"}:
            raise OSError("no route to the cache")

    with override_settings(CACHES=hooked_caches()):
        resolver = InstanceResolver(
            config_service_backend=Denying(), access_policy=Everybody(), cache_alias="default"
        )
        call(resolver, "resolve", asks())
        clock.now += 300
        with hooks(fail):
            assert isinstance(error_of(call, resolver), AccessDenied)


@pytest.mark.parametrize("is_async", [False, True])
def test_signal_resolved(resolver: InstanceResolver, call: Twin, is_async: bool) -> None:
    """Each answer is announced by a signal, even when other receivers fail."""
    with hearing(instance_resolved, is_async=is_async) as heard:
        call(resolver, "resolve", asks(request_metadata=RequestMetadata(request_id="r-1")))
        call(resolver, "resolve", asks(ADA))
    assert heard == [
        {"instance_id": "acme", "source": "service", "user_id": "olga", "request_id": "r-1"},
        {"instance_id": "acme", "source": "cache", "user_id": "ada", "request_id": None},
    ]


@pytest.mark.parametrize("is_async", [False, True])
def test_signal_stale(
    resolver: InstanceResolver, call: Twin, clock: Clock, service: Service, is_async: bool
) -> None:
    """A stale answer is announced with its age, and a refused one is not."""
    call(resolver, "resolve", asks())
    clock.now += 400
    service.failure = DOWN
    with hearing(instance_stale_served, is_async=is_async) as heard:
        call(resolver, "resolve", asks())
        error_of(call, resolver)
    assert heard == [{"instance_id": "acme", "age": 400, "user_id": "olga", "request_id": None}]


@pytest.mark.parametrize("by", ["policy", "service"])
def test_signal_denied(call: Twin, by: str) -> None:
    """A refusal is announced with who refused."""
    service = Denying() if by == "service" else Service()
    resolver = InstanceResolver(config_service_backend=service)
    with hearing(access_denied) as heard:
        error_of(call, resolver)
        error_of(call, resolver, instance_id=None, project_id="shop")
    about = {"user_id": "sam", "request_id": None, "by": by}
    assert heard == [{"instance_id": "acme", **about}, {"instance_id": None, **about}]


def test_no_signal_without_answer(resolver: InstanceResolver, call: Twin) -> None:
    """A lookup without an answer sends no ``instance_resolved``."""
    with hearing(instance_resolved) as heard:
        error_of(call, resolver)
        error_of(call, resolver, instance_id="nobody")
    assert heard == []


def test_policy_that_fails(call: Twin, service: Service) -> None:
    """A policy that returns neither True nor False lets no user in."""

    class Broken(Policy):
        def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
            return None  # type: ignore[return-value]

    resolver = InstanceResolver(config_service_backend=service, access_policy=Broken())
    with pytest.raises(TypeError, match="must return True or False"):
        call(resolver, "resolve", asks())


def test_no_secret_anywhere(
    resolver: InstanceResolver,
    call: Twin,
    clock: Clock,
    service: Service,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No answer, error, traceback or log line shows a key."""
    caplog.set_level(logging.DEBUG)
    shown = [repr(call(resolver, "resolve", asks()))]
    clock.now += 300
    bad = acme("second", rate_limits={"x": SECRET})
    for failure, instance in [(DOWN, acme("x")), (RuntimeError("?"), acme("x")), (None, bad)]:
        service.failure, service.instances["acme"] = failure, instance
        shown.append(repr(call(resolver, "resolve", asks())))
        shown.append("".join(traceback.format_exception(error_of(call, resolver))))
    resolver.invalidate_cache("acme")
    shown.append("".join(traceback.format_exception(error_of(call, resolver))))
    assert SECRET not in "".join(shown) + caplog.text


class Suspended(LookupUser):
    """A user that the project's own code treats as anonymous."""

    @property
    def is_anonymous(self) -> bool:
        return True


@pytest.mark.parametrize("size", [0, 10])
def test_anonymous_by_the_projects_own_idea(size: int) -> None:
    """``ALLOW_ANONYMOUS`` is checked with and without an answer in the near cache."""
    resolver = InstanceResolver(config_service_backend=Service(), near_cache_size=size)
    for _ in range(2):
        resolver.resolve(asks())
    with pytest.raises(AccessDenied, match="Anonymous"):
        resolver.resolve(asks(Suspended("olga")))


def test_refused_whatever_is_near() -> None:
    """A user that the service refused is not served another user's copy from the near cache."""
    resolver = InstanceResolver(
        config_service_backend=Denying(), access_policy=Everybody(), near_cache_size=10
    )
    with pytest.raises(AccessDenied):
        resolver.resolve(asks(SAM))
    for _ in range(2):
        resolver.resolve(asks())
    with pytest.raises(AccessDenied):
        resolver.resolve(asks(SAM))
    assert resolver.resolve(asks()).config.instance_id == "acme"


def test_malformed_id_with_something_near() -> None:
    """A malformed id fails before the near cache is read."""
    resolver = InstanceResolver(config_service_backend=Service(), near_cache_size=10)
    resolver.resolve(asks())
    with pytest.raises(InvalidContext, match="not a valid instance id"):
        resolver.resolve(asks(instance_id="../acme"))
