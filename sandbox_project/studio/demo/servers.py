"""Worker, Config Service and studio: three processes that know each other by address only."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from config_service.process import ServerProcess

from studio import people
from studio.demo import interrupts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SERVICE_PASSWORD: Final = people.PASSWORD

LOOPBACK: Final = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@dataclass
class Sandbox:
    """The three servers. ``with start(...)`` stops them and removes their files."""

    data_dir: Path
    redis_url: str | None
    cache_prefix: str
    service_env: dict[str, str]
    running: ExitStack
    worker: ServerProcess = field(init=False)
    service: ServerProcess = field(init=False)
    studio: ServerProcess = field(init=False)

    def start_all(self, studio_token: str) -> None:
        """Start the servers, each knowing the addresses of those before it."""
        self.worker = self._start("studio.worker.settings", "worker", {})
        self.service_env["SANDBOX_WORKER_URL"] = f"{self.worker.url}/jobs"
        self.service = self._start_service(0, seeded=True)
        env = {
            "CONFIG_SERVICE_URL": self.service.url,
            "STUDIO_SERVICE_TOKEN": studio_token,
            "STUDIO_SECRET_KEY": secrets.token_urlsafe(32),
            "STUDIO_CACHE_PREFIX": self.cache_prefix,
            "STUDIO_NAIVE": "1",
            "REDIS_URL": self.redis_url or "",
        }
        self.studio = self._start("studio.settings", "studio", env, options=["--seed"])
        # From its next start on; put_back starts it again before people come.
        self.service_env["STUDIO_URL"] = self.studio.url

    def stop_service(self) -> None:
        """Stop the Config Service: nobody listens on its port any more."""
        self.service.stop()

    def start_service(self, *, seeded: bool = False) -> None:
        """Start it again, where it was and with what it knew; ``seeded``: as on the first day."""
        self.service = self._start_service(self.service.port, seeded=seeded)

    def service_calls(self) -> int:
        """Return how many API requests the Config Service has answered, by its own log."""
        return self.service.log.read_bytes().count(b" INFO GET /")

    def _start_service(self, port: int, *, seeded: bool) -> ServerProcess:
        options = ["--seed"] if seeded else []
        name = "config_service"
        return self._start(f"{name}.settings", name, self.service_env, port=port, options=options)

    def _start(
        self,
        settings: str,
        folder: str,
        env: Mapping[str, str],
        *,
        port: int = 0,
        options: list[str] | None = None,
    ) -> ServerProcess:
        with interrupts.held():
            server = ServerProcess.start(
                settings,
                self.data_dir / folder,
                port=port,
                options=options or [],
                env={**LOOPBACK, **env},
            )
            self.running.callback(server.stop)
        return server


@contextmanager
def start(redis_url: str | None, cache_prefix: str) -> Iterator[Sandbox]:
    """Start a sandbox in a temporary folder; stop it and remove the folder at the end.

    ``CONFIG_SERVICE_TOKEN`` and ``STUDIO_SERVICE_TOKEN``, where the environment has them, are the
    tokens that the service expects and that the studio sends.
    """
    token = os.environ.get("CONFIG_SERVICE_TOKEN") or secrets.token_urlsafe(32)
    studio_token = os.environ.get("STUDIO_SERVICE_TOKEN") or token
    with ExitStack() as running:
        # Not between making the folder and noting that it has to go.
        with interrupts.held():
            data_dir = Path(tempfile.mkdtemp(prefix="instance-lookup-demo-"))
            running.callback(shutil.rmtree, data_dir, ignore_errors=True)
        sandbox = Sandbox(data_dir, redis_url, cache_prefix, _service_env(token), running)
        try:
            sandbox.start_all(studio_token)
            yield sandbox
        finally:
            with interrupts.ignored():
                running.close()


def _service_env(token: str) -> dict[str, str]:
    return {
        "CONFIG_SERVICE_TOKEN": token,
        "CONFIG_SERVICE_SECRET_KEY": secrets.token_urlsafe(32),
        "CONFIG_SERVICE_ADMIN_NAME": people.ADMIN.name,
        "CONFIG_SERVICE_ADMIN_PASSWORD": SERVICE_PASSWORD,
        "SANDBOX_OWNER_ID": people.user_id(people.OWNER),
        "SANDBOX_OTHER_OWNER_ID": people.user_id(people.NEIGHBOUR),
    }
