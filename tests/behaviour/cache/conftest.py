from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from instance_lookup import InstanceResolver
from tests.support.lookups import VARIANT_PARAMS, Clock, Service, provide_variant

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
