"""What tests of jobs share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import ConfigServiceUnavailable

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService


@pytest.fixture
def outage(service: DictConfigService, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An item for each call that the Config Service will not answer."""
    left: list[int] = []
    ask = service.get_instance

    def answer(*args: Any) -> Any:
        if left:
            left.pop()
            raise ConfigServiceUnavailable("down")
        return ask(*args)

    monkeypatch.setattr(service, "get_instance", answer)
    return left
