"""Turns of a lookup that few requests take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from instance_lookup import AccessDenied, InstanceResolver, LookupContext, LookupUser, Source
from instance_lookup.users import user_context
from tests.behaviour.who.test_users import Person
from tests.support.lookups import Service, asks

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
