from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from instance_lookup.testing import FakeConfigService
from tests.integrations.recipe import INSTANCES, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def service() -> Iterator[FakeConfigService]:
    with FakeConfigService(INSTANCES) as service:
        yield service


@pytest.fixture
def build(tmp_path: Path, service: FakeConfigService) -> Callable[..., Recipe]:
    """Make the site of a recipe, in front of ``service`` unless the environment names another."""

    def build(page: str, **environ: str) -> Recipe:
        return Recipe(tmp_path, page, **{"CONFIG_SERVICE_URL": service.url, **environ})

    return build
