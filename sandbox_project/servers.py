"""What the demo runs against: three servers, started on free ports, and the story's people."""

from __future__ import annotations

import json
import os
import secrets
from base64 import b64encode
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from config_service.process import ServerProcess, ServiceAdmin
from studio.people import NEIGHBOUR, PASSWORD, PEOPLE, Visitor
from studio.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

SEEDED: Final = ("studio-a", "studio-b", "no-owner")


class Sandbox:
    """Worker, Config Service and studio, and the people: each knows the others' address only.

    ``CONFIG_SERVICE_TOKEN`` and ``STUDIO_SERVICE_TOKEN``, where the environment has them, are the
    tokens that the service expects and that the studio sends.
    """

    def __init__(self, redis_url: str, running: ExitStack) -> None:
        self.running = running
        prefix = f"studio-demo-{secrets.token_hex(4)}"
        if redis_url:
            running.enter_context(keys_removed(redis_url, prefix))
        folder = TemporaryDirectory(prefix="instance-lookup-demo-")
        self.data_dir = Path(running.enter_context(folder))
        keys = {f"sandbox-key-of-{name}": name for name in SEEDED}
        self.worker = running.enter_context(Worker(keys))
        Thread(target=self.worker.serve_forever, daemon=True).start()
        running.callback(self.worker.shutdown)
        token = os.environ.get("CONFIG_SERVICE_TOKEN") or secrets.token_urlsafe(32)
        self.env = {
            "CONFIG_SERVICE_TOKEN": token,
            "SANDBOX_WORKER_URL": self.worker.url,
            "CONFIG_SERVICE_WEBHOOKS": "{}",  # there is no studio yet
        }
        self.service = self.start("config_service", "--seed")
        webhook_secret = f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"
        self.env |= {
            "CONFIG_SERVICE_URL": self.service.url,
            "STUDIO_WEBHOOK_SECRET": webhook_secret,
            "STUDIO_SERVICE_TOKEN": os.environ.get("STUDIO_SERVICE_TOKEN") or token,
            "STUDIO_CACHE_PREFIX": prefix,
            "STUDIO_NAIVE": "1",
            "REDIS_URL": redis_url,
            # For the lookup by hand.
            **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1"),
        }
        self.studio = self.start("studio", "--seed")
        # The service links to it, and tells it of changes, from its next start on.
        self.env["STUDIO_URL"] = self.studio.url
        webhook = f"{self.studio.url}/instance-lookup/webhook/"
        self.env["CONFIG_SERVICE_WEBHOOKS"] = json.dumps({webhook: [webhook_secret]})
        self.service_admin = running.enter_context(ServiceAdmin(self.service.url, PASSWORD))
        self.people = [running.enter_context(Visitor(self.studio.url, one)) for one in PEOPLE]
        self.elsewhere: list[Visitor] = []
        """The neighbour at a second process of the site, where the two can share a cache."""
        if redis_url:
            second = self.start("studio")
            self.elsewhere.append(running.enter_context(Visitor(second.url, NEIGHBOUR)))

    def start(self, site: str, *options: str, port: int = 0) -> ServerProcess:
        server = ServerProcess(site, self.data_dir, *options, port=port, env=self.env)
        self.running.callback(server.stop)
        return server

    def restart_service(self, *options: str) -> None:
        """Start the Config Service again where it was, with what it knew before."""
        self.service.stop()
        self.service = self.start("config_service", *options, port=self.service.port)

    def change(self, instance_id: str, **fields: Any) -> str:
        """Save an instance in the service's admin, wait until the site is told, and say so."""
        self.service_admin.set(f"instance/{instance_id}", **fields)
        waited = self.service_admin.wait_until_told()
        return f"{instance_id} is saved at the service, and the site told in {waited:.0f} ms: "

    def service_calls(self) -> int:
        """Return how many API requests the Config Service has answered, by its own log."""
        return self.service.log.read_bytes().count(b" request_id=")

    def put_back(self) -> None:
        """Bring everything back to the first state, for those who want to play."""
        self.restart_service("--seed")
        for instance_id in SEEDED:
            self.people[0].cache("invalidate", instance_id)
        self.service_admin.wait_until_told()


@contextmanager
def keys_removed(url: str, prefix: str) -> Iterator[None]:
    """Check that Redis answers; at the end remove the keys that begin with ``prefix``."""
    import redis  # noqa: PLC0415  # an extra

    try:
        with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
            client.ping()
            try:
                yield
            finally:
                for key in client.scan_iter(match=f"{prefix}*", count=1000):
                    client.delete(key)
    except redis.RedisError as exc:
        raise RuntimeError(f"No Redis answers: {exc}") from exc
