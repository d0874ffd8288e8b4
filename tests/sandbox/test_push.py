"""The studio beside the reference service: what changes there is seen here, by either way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from config_service.process import ServiceAdmin
from studio.people import ADMIN, NEIGHBOUR, OWNER, Visitor

from tests.sandbox.receiver import SECRET
from tests.sandbox.service import ADMIN_PASSWORD, CONFIG, fresh_id, start_config_service
from tests.sandbox.studio import start_studio
from tests.support.server_process import free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

WAYS = ["webhook", "stream"]
# Each has its cache in its own memory, for five minutes: nothing else brings a change in time.


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The service, a studio that it tells by webhook, and one that listens to its stream."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("service", *WAYS)}
    port = free_port()
    webhook = {f"http://127.0.0.1:{port}/instance-lookup/webhook/": [SECRET]}
    with (
        start_config_service(
            folders["service"], env={"CONFIG_SERVICE_WEBHOOKS": json.dumps(webhook)}
        ) as service,
        start_studio(
            folders["webhook"], service.url, port=port, STUDIO_WEBHOOK_SECRET=SECRET
        ) as told,
        start_studio(folders["stream"], service.url, STUDIO_STREAM="/stream") as listening,
    ):
        with Visitor(listening.url, OWNER) as first:
            assert first.instance().status_code == 200
        wait_until(lambda: "GET /stream 200" in service.log.read_text())
        yield {"service": service.url, "webhook": told.url, "stream": listening.url}


@pytest.fixture
def service(urls: dict[str, str]) -> Iterator[ServiceAdmin]:
    with ServiceAdmin(urls["service"], ADMIN_PASSWORD) as admin:
        yield admin


@pytest.mark.parametrize("way", WAYS)
def test_change_is_seen_by_a_site(urls: dict[str, str], service: ServiceAdmin, way: str) -> None:
    """A new name, another owner and the end of an instance reach a site that has it cached."""
    name = fresh_id()
    with Visitor(urls[way], OWNER) as owner, Visitor(urls[way], NEIGHBOUR) as neighbour:
        assert status(owner, name) == 404, "not there yet, and remembered as such"
        service.set(f"instance/{name}", owner=OWNER.user_id, name="Old", **CONFIG)
        wait_until(lambda: status(owner, name) == 200, 15)  # a 404 is forgotten after 30 s
        assert owner.instance(X_Instance_ID=name).json()["name"] == "Old"
        service.set(f"instance/{name}", name="New")
        wait_until(lambda: owner.instance(X_Instance_ID=name).json()["name"] == "New")
        assert status(neighbour, name) == 403
        service.set(f"instance/{name}", owner=NEIGHBOUR.user_id)
        wait_until(lambda: status(owner, name) == 403)
        assert status(neighbour, name) == 200
        service.remove(name)
        wait_until(lambda: status(neighbour, name) == 404)


def status(visitor: Visitor, instance_id: str) -> int:
    return visitor.instance(X_Instance_ID=instance_id).status_code


@pytest.mark.parametrize("way", WAYS)
def test_project_that_moves_is_seen_by_a_site(
    urls: dict[str, str], service: ServiceAdmin, way: str
) -> None:
    """A project leads to another instance once it has been moved there, and then to none."""
    project, instance = fresh_id(), fresh_id()
    service.set(f"instance/{instance}", owner=OWNER.user_id)
    service.set(f"project/{project}", instance_id="studio-a")
    with Visitor(urls[way], ADMIN) as admin:
        assert admin.instance(X_Project_ID=project).json()["instance_id"] == "studio-a"
        service.set(f"project/{project}", instance_id=instance)
        wait_until(lambda: admin.instance(X_Project_ID=project).json()["instance_id"] == instance)
        service.remove(instance)
        wait_until(lambda: admin.instance(X_Project_ID=project).status_code == 404)
