"""A real service and its resolver. A module that needs others has fixtures of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from instance_lookup import InstanceResolver
from tests.support.gone import Service
from tests.support.insides import disconnect, has_landed
from tests.support.lookups import Clock, hooked_caches
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def service() -> Iterator[Service]:
    """A Config Service that knows every instance and project, until it is told otherwise."""
    with Service() as service:
        yield service


@pytest.fixture
def make(service: Service, clock: Clock) -> Iterator[Callable[..., InstanceResolver]]:
    """Makes resolvers that ask the service, all on one cache that can be interrupted."""
    made: list[InstanceResolver] = []

    def make_resolver(**options: Any) -> InstanceResolver:
        made.append(InstanceResolver(**{"config_service_url": service.url, **options}))
        return made[-1]

    with override_settings(CACHES=hooked_caches()):
        yield make_resolver
        for resolver in made:
            wait_until(lambda: has_landed(resolver))  # noqa: B023
            disconnect(resolver.backend)


@pytest.fixture
def resolver(make: Callable[..., InstanceResolver]) -> InstanceResolver:
    return make()
