"""Sites with a webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.lookups import VARIANT_PARAMS, provide_variant
from tests.support.webhook import (
    Service,
    site,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture(params=VARIANT_PARAMS)
def alias(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Each kind of cache, and what there is of options."""
    yield from provide_variant(request, tmp_path)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    found: bool = request.param
    return found


@pytest.fixture
def a_site(service: Service) -> Iterator[None]:
    with site(service=service):
        yield
