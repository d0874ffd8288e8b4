"""What tests of metrics share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_resolvers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process begin without the resolvers of other tests, which gauges would show."""
    monkeypatch.setattr("instance_lookup.registry._resolvers", {})
