from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from instance_lookup.throttling import counter
from tests.support.doors import owned_by, serve
from tests.support.throttles import ServerClock

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService

NOW = 1_800_000_000.0
"""08:00 UTC."""


@pytest.fixture
def service(settings: Any) -> DictConfigService:
    return serve(settings)


@pytest.fixture
def olga(db: None, service: DictConfigService) -> User:
    """The owner of "acme" and "globex", which have a limit of three calls at once."""
    olga = User.objects.create_user("olga")
    for name in ("acme", "globex"):
        limits = {"render": {"rpm": 3}}
        service.instances[name] = owned_by(olga, instance_id=name, rate_limits=limits)
    return olga


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ServerClock:
    """The clock by which calls are counted on caches other than Redis."""
    clock = ServerClock(NOW)
    monkeypatch.setattr(counter, "time", clock)
    return clock
