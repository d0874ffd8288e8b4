"""Turns of a lookup that few requests take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from instance_lookup import (
    AccessDenied,
    ConfigServiceUnavailable,
    InstanceNotFound,
    InstanceResolver,
    LookupContext,
    LookupUser,
    Source,
)
from instance_lookup.access import IsOwner
from instance_lookup.users import user_context
from tests.behaviour.who.test_users import Person
from tests.support.lookups import ADA, DOWN, SAM, Service, acme, asks

if TYPE_CHECKING:
    from tests.support.lookups import Clock, Twin


async def test_default_of_a_profile_is_loaded_in_an_event_loop() -> None:
    """An instance that only the user's profile names is found in an event loop, too."""
    user = user_context(Person(pk="olga", profile=Person(default_instance_id="acme")))
    resolver = InstanceResolver(config_service_backend=Service())
    for source in (Source.SERVICE, Source.CACHE):
        result = await resolver.aresolve(LookupContext(user))
        assert (result.config.instance_id, result.source) == ("acme", source)


def test_last_second_of_a_hit(call: Twin, clock: Clock) -> None:
    """What is left of the time to live is exact to its end, also within the last second."""
    resolver = InstanceResolver(config_service_backend=Service(), refresh_ahead=1.0)
    call(resolver, "resolve", asks())
    clock.now += 299.75
    assert call(resolver, "resolve", asks()).ttl_remaining == 0.25


def test_message_for_the_anonymous(call: Twin) -> None:
    """The refusal of anonymous callers says so, and nothing of any instance."""
    resolver = InstanceResolver(config_service_backend=Service())
    with pytest.raises(AccessDenied) as caught:
        call(resolver, "resolve", asks(LookupUser.anonymous()))
    assert str(caught.value) == "Anonymous callers may not use any instance."
    assert caught.value.details == {}


class Quiet(IsOwner):
    """A policy that takes what it needs from the settings."""

    made_with: object = None

    @classmethod
    def from_settings(cls, settings: object) -> Quiet:
        cls.made_with = settings
        return cls()


def test_policy_that_is_a_class_gets_the_settings() -> None:
    """A class in `ACCESS_POLICY` is built from the settings, as identifiers and backends are."""
    resolver = InstanceResolver(config_service_backend=Service(), access_policy=Quiet)
    assert Quiet.made_with is resolver.settings


def test_log_names_the_backend(call: Twin, caplog: pytest.LogCaptureFixture) -> None:
    """The log names what was asked, so that one of two resolvers can be told from the other."""
    service = Service()
    service.failure = DOWN
    with pytest.raises(ConfigServiceUnavailable):
        call(InstanceResolver(config_service_backend=service), "resolve", asks())
    assert "(Service)" in caplog.text


def test_what_becomes_the_users_own_is_refunded(call: Twin) -> None:
    """With denials concealed, a hit gives back what the user paid while it was not theirs."""
    service = Service()
    resolver = InstanceResolver(config_service_backend=service, conceal_denied=True, miss_budget=1)
    with pytest.raises(InstanceNotFound):
        call(resolver, "resolve", asks(SAM))
    service.instances["acme"] = acme("second", metadata={"owner": "sam"})
    resolver.invalidate_cache("acme")
    call(resolver, "resolve", asks(ADA))
    assert call(resolver, "resolve", asks(SAM)).source is Source.CACHE
    with pytest.raises(InstanceNotFound) as caught:  # and not MissBudgetSpent
        call(resolver, "resolve", asks(SAM, "unknown"))
    assert caught.value.instance_id == "unknown"
