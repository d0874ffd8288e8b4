"""What most tests of DRF begin with. A module that needs more has a fixture of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.doors import serve

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService


@pytest.fixture
def service(settings: Any) -> DictConfigService:
    """The Config Service of the site, which has no instance yet."""
    return serve(settings)
