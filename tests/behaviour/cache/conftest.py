from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from instance_lookup import InstanceResolver
from tests.support.lookups import VARIANT_PARAMS, Clock, Service, provide_variant
from tests.support.sealing import Site, Writer, provide_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=VARIANT_PARAMS)
def alias(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The alias of an empty cache, of each kind in turn and with options that matter."""
    yield from provide_variant(request, tmp_path)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def resolver(clock: Clock, alias: str, service: Service) -> InstanceResolver:
    return InstanceResolver(cache_alias=alias, config_service_backend=service)


@pytest.fixture
def site(alias: str, clock: Clock) -> Iterator[Site]:
    """Processes with ENCRYPTION_KEYS on the cache ``alias``."""
    yield from provide_site(alias, clock)


@pytest.fixture
def writer(alias: str) -> Writer:
    """One who can write to that cache, and has no key."""
    return Writer(alias)
