from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from config_service.remote import RemoteAdmin

from tests.sandbox.service import ADMIN_PASSWORD, CONFIG, Api, fresh_id, start_config_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from config_service.process import ServerProcess


@pytest.fixture(scope="session")
def config_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A seeded Config Service for all tests of this process. Who stops one starts his own."""
    with start_config_service(tmp_path_factory.mktemp("config_service")) as server:
        yield server


@pytest.fixture(scope="session")
def service_admin(config_service: ServerProcess) -> Iterator[RemoteAdmin]:
    """The admin of the service, to change what it answers."""
    with RemoteAdmin(config_service.url, "admin", ADMIN_PASSWORD) as admin:
        yield admin


@pytest.fixture
def switch(service_admin: RemoteAdmin) -> Iterator[Callable[..., None]]:
    """Break the service for one test: ``switch(down=True)``."""
    yield service_admin.switch
    service_admin.switch()


@pytest.fixture
def api(config_service: ServerProcess) -> Iterator[Api]:
    """A client of the service with the right token."""
    with Api(config_service.url) as client:
        yield client


@pytest.fixture
def instance_id(service_admin: RemoteAdmin) -> str:
    """An instance of this test's own."""
    name = fresh_id()
    service_admin.add_instance(name, owner="7", tenant_id="t", name="N", description="D", **CONFIG)
    return name
