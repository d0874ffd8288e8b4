"""The studio as a process of its own, and its worker."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from config_service.process import ServerProcess
from studio.people import OWNER
from studio.worker import Worker

from tests.sandbox.service import CONFIG, TOKEN, fresh_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config_service.process import ServiceAdmin

ROOT = Path(__file__).parents[2]

# So that the servers import the package that is being tested, wherever they are started.
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}

KEY = "worker-key-of-the-tests"
SECRETS = ("a-secret", "sandbox-key-of", "whsec_", KEY)


@contextmanager
def start_worker() -> Iterator[Worker]:
    """Start a worker that knows ``KEY``; it stops with its ``with`` block."""
    with Worker({KEY: "tests"}) as worker:
        thread = Thread(target=worker.serve_forever)
        thread.start()
        try:
            yield worker
        finally:
            worker.shutdown()
            thread.join()


def start_studio(data_dir: Path, service_url: str, *, port: int = 0, **env: str) -> ServerProcess:
    """Start a seeded studio; it stops with its ``with`` block."""
    return ServerProcess(
        "studio",
        data_dir,
        "--seed",
        port=port,
        env={
            **ENVIRONMENT,
            "CONFIG_SERVICE_URL": service_url,
            "STUDIO_SERVICE_TOKEN": TOKEN,
            "STUDIO_CACHE_PREFIX": f"tests-{uuid4().hex[:8]}",
            "REDIS_URL": "",
            **env,
        },
    )


def add_instance(service_admin: ServiceAdmin, **fields: Any) -> str:
    """Add an instance of the owner's at the Config Service, and return its id."""
    name = fresh_id()
    defaults = {**CONFIG, "api_keys": {"render": KEY}, "owner": OWNER.user_id, "name": "Mine"}
    service_admin.set(f"instance/{name}", **{**defaults, **fields})
    return name
