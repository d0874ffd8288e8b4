"""What most tests of DRF begin with. A module that needs more has a fixture of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from tests.support.doors import owned_by, serve

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService


@pytest.fixture
def service(settings: Any) -> DictConfigService:
    """The Config Service of the site, which has no instance yet."""
    return serve(settings)


@pytest.fixture
def users(db: None, service: DictConfigService) -> dict[str, User]:
    """Olga, who owns the instance, and Sam, a stranger."""
    users = {name: User.objects.create_user(name) for name in ("olga", "sam")}
    service.instances["acme"] = owned_by(users["olga"])
    return users
