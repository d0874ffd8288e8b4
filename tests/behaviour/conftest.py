"""A site in memory. A module whose site is another one has a fixture of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.test import RequestFactory

from instance_lookup.request.attributes import attach
from tests.support.doors import OLGA, owned_by, serve

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService


@pytest.fixture
def service(settings: Any) -> DictConfigService:
    """The Config Service of the site, which knows Olga's instance."""
    service = serve(settings)
    service.instances["acme"] = owned_by(OLGA)
    return service


@pytest.fixture
def request_(service: DictConfigService) -> Any:
    """A request of the owner, with the lookup attached."""
    request: Any = RequestFactory().get("/", headers={"X-Instance-ID": "acme"})
    request.user = OLGA
    attach(request)
    return request


@pytest.fixture
def users(db: None, service: DictConfigService) -> dict[str, User]:
    """Olga, who owns the instance, and Sam, a stranger, in the database."""
    users = {name: User.objects.create_user(name) for name in ("olga", "sam")}
    service.instances["acme"] = owned_by(users["olga"])
    return users
