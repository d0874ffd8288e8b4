"""A watcher, a service in memory, and a cache that can be interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.test import override_settings

from instance_lookup import InstanceResolver
from tests.support.lookups import Clock, Service, hooked_caches
from tests.support.watching import Told, watching

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def told() -> Iterator[Told]:
    """What those who watch are told."""
    with watching() as told:
        yield told


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def resolver(clock: Clock, service: Service) -> Iterator[InstanceResolver]:
    with override_settings(CACHES=hooked_caches()):
        yield InstanceResolver(config_service_backend=service)
