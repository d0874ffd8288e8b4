from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from config_service.process import ServiceAdmin
from studio.people import PEOPLE, Visitor

from tests.sandbox.service import (
    ADMIN_PASSWORD,
    CONFIG,
    AdminPages,
    Api,
    fresh_id,
    start_config_service,
)
from tests.sandbox.studio import add_instance, start_studio, start_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from config_service.process import ServerProcess
    from studio.worker import Worker


@pytest.fixture(scope="session")
def config_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A seeded Config Service for all tests of this process. To stop one, start another."""
    with start_config_service(tmp_path_factory.mktemp("config_service")) as server:
        yield server


@pytest.fixture(scope="session")
def service_admin(config_service: ServerProcess) -> Iterator[ServiceAdmin]:
    """The admin of the service, to change what it answers."""
    with ServiceAdmin(config_service.url, ADMIN_PASSWORD) as admin:
        yield admin


@pytest.fixture(scope="session")
def admin_pages(config_service: ServerProcess) -> Iterator[AdminPages]:
    """The pages of the service's admin."""
    with AdminPages(config_service.url) as pages:
        yield pages


@pytest.fixture
def switch(service_admin: ServiceAdmin) -> Iterator[Callable[..., None]]:
    """Break the service for one test: ``switch(down=True)``."""
    yield service_admin.switch
    service_admin.switch()


@pytest.fixture
def api(config_service: ServerProcess) -> Iterator[Api]:
    """A client of the service with the right token."""
    with Api(config_service.url) as client:
        yield client


@pytest.fixture
def instance_id(service_admin: ServiceAdmin) -> str:
    """An instance of this test's own."""
    name = fresh_id()
    fields = {"owner": "7", "tenant_id": "t", "name": "N", "description": "D"}
    service_admin.set(f"instance/{name}", **fields, **CONFIG)
    return name


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    """A worker that knows the tests' key."""
    with start_worker() as server:
        yield server


@pytest.fixture(scope="session")
def studio(
    config_service: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A seeded studio that asks the Config Service of this process."""
    with start_studio(tmp_path_factory.mktemp("studio"), config_service.url) as server:
        yield server


@pytest.fixture(scope="session")
def people(studio: ServerProcess) -> dict[str, Visitor]:
    """The studio's people, each logged in on its pages and with a token."""
    return {person.name: Visitor(studio.url, person) for person in PEOPLE}


@pytest.fixture
def mine(service_admin: ServiceAdmin, worker: Worker) -> str:
    """An instance of the owner's, for this test alone, with a worker that takes its key."""
    return add_instance(service_admin, worker_urls={"render": worker.url})
