"""The studio and its worker as processes of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from server.process import ServerProcess
from studio.people import OWNER, user_id

from tests.sandbox.service import CONFIG, TOKEN, fresh_id

if TYPE_CHECKING:
    from sandbox import ServiceAdmin

ROOT = Path(__file__).parents[2]

# So that the servers import the package that is being tested, wherever they are started.
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}

KEY = "worker-key-of-the-tests"
SECRETS = ("a-secret", "sandbox-key-of", KEY)


def start_worker(data_dir: Path) -> ServerProcess:
    """Start a worker that knows ``KEY``; it stops with its ``with`` block."""
    env = {**ENVIRONMENT, "WORKER_KEYS": f'{{"tests": "{KEY}"}}'}
    return ServerProcess.start("studio.worker", data_dir, env=env)


def start_studio(data_dir: Path, service_url: str, **env: str) -> ServerProcess:
    """Start a seeded studio; it stops with its ``with`` block."""
    return ServerProcess.start(
        "studio.settings",
        data_dir,
        "--seed",
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
    defaults = {**CONFIG, "api_keys": {"render": KEY}, "owner": user_id(OWNER), "name": "Mine"}
    service_admin.put("instance", name, **{**defaults, **fields})
    return name
