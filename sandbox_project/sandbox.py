"""What the demo's story is told to: three servers on free ports, and clients that talk to them."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests
from server.process import ServerProcess, signals_handled_by, signals_held
from studio.people import ADMIN, PASSWORD, Person

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT: Final = 30.0
OFF: Final = {"down": False, "slow": 0, "errors": 0, "errors_status": 500, "retry_after": None}

# --- servers ------------------------------------------------------------------------------------


class Sandbox:
    """Worker, Config Service and studio: processes that know each other by address only.

    ``CONFIG_SERVICE_TOKEN`` and ``STUDIO_SERVICE_TOKEN``, where the environment has them, are the
    tokens that the service expects and that the studio sends.
    """

    worker: ServerProcess
    service: ServerProcess
    studio: ServerProcess

    def __init__(self, redis_url: str | None, running: ExitStack) -> None:
        token = os.environ.get("CONFIG_SERVICE_TOKEN") or secrets.token_urlsafe(32)
        prefix = f"studio-demo-{secrets.token_hex(4)}"
        self.service_env = {"CONFIG_SERVICE_TOKEN": token}
        self.studio_env = {
            "STUDIO_SERVICE_TOKEN": os.environ.get("STUDIO_SERVICE_TOKEN") or token,
            "STUDIO_CACHE_PREFIX": prefix,
            "STUDIO_NAIVE": "1",
            "REDIS_URL": redis_url or "",
            # For the lookup by hand.
            **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1"),
        }
        self.running = running
        if redis_url:
            running.enter_context(keys_removed(redis_url, prefix))
        # Not between making the folder and noting that it has to go.
        with signals_held():
            self.data_dir = Path(tempfile.mkdtemp(prefix="instance-lookup-demo-"))
            running.callback(shutil.rmtree, self.data_dir, ignore_errors=True)

    def start_all(self) -> None:
        """Start the servers, each knowing the addresses of those before it."""
        self.worker = self._start("studio.worker", "worker")
        self.service_env["SANDBOX_WORKER_URL"] = f"{self.worker.url}/jobs"
        self.start_service("--seed")
        self.studio_env["CONFIG_SERVICE_URL"] = self.service.url
        self.studio = self._start("studio.settings", "studio", "--seed", env=self.studio_env)
        # From its next start on; it is started again before people come to play.
        self.service_env["STUDIO_URL"] = self.studio.url

    def start_service(self, *options: str, port: int = 0) -> None:
        """Start the Config Service, with what it knew before."""
        settings = "config_service.settings"
        self.service = self._start(settings, "service", *options, port=port, env=self.service_env)

    def service_calls(self) -> int:
        """Return how many API requests the Config Service has answered, by its own log."""
        return self.service.log.read_bytes().count(b" INFO GET /")

    def _start(self, settings: str, folder: str, *options: str, **named: Any) -> ServerProcess:
        with signals_held():
            server = ServerProcess.start(settings, self.data_dir / folder, *options, **named)
            self.running.callback(server.stop)
        return server


@contextmanager
def start(redis_url: str | None) -> Iterator[Sandbox]:
    """Start a sandbox; at the end stop it, and remove its files and its keys in Redis.

    Raises ``RedisAway``, and ``RuntimeError`` if a server does not start.
    """
    with ExitStack() as running:
        try:
            sandbox = Sandbox(redis_url, running)
            sandbox.start_all()
            yield sandbox
        finally:
            with signals_handled_by(signal.SIG_IGN):
                running.close()


class RedisAway(Exception):
    """No Redis answers at the address, which ``args[0]`` says without its password."""


@contextmanager
def keys_removed(url: str, prefix: str) -> Iterator[None]:
    """Check that Redis answers; at the end remove the keys that begin with ``prefix``."""
    try:
        import redis  # noqa: PLC0415  # an extra
    except ImportError as exc:
        raise RedisAway("Redis needs: pip install '.[redis]', in the folder of the clone") from exc
    try:
        client = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
        client.ping()
    except (redis.RedisError, ValueError) as exc:
        parts = urlsplit(url)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise RedisAway(f"No Redis answers at {shown} ({type(exc).__name__}).") from exc
    try:
        yield
    finally:
        with suppress(redis.RedisError), client:
            for key in client.scan_iter(match=f"{prefix}*", count=1000):
                client.delete(key)


# --- clients ------------------------------------------------------------------------------------


class Refused(Exception):
    """A site did not take what was sent to it; ``args[0]`` is what it says to that."""


class Client:
    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        # A .netrc or a proxy of the machine has no business on loopback.
        self.session.trust_env = False

    def get(self, path: str, **headers: str) -> requests.Response:
        """Send a GET; ``X_Instance_ID="a"`` sends a header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session.get(self.url + path, headers=named, timeout=TIMEOUT)


class Program(Client):
    """A client of the studio's API, with its person's token."""

    def __init__(self, url: str, person: Person) -> None:
        super().__init__(url)
        self.session.headers["Authorization"] = f"Token {person.token}"

    def instance(self, **headers: str) -> requests.Response:
        return self.get("/api/instance/", **headers)

    def job(self, task: str) -> requests.Response:
        body = {"worker": "render", "task": task}
        return self.session.post(f"{self.url}/api/jobs/", json=body, timeout=TIMEOUT)


class Browser(Client):
    """A person who has logged in on the studio's page."""

    def __init__(self, url: str, person: Person, password: str = PASSWORD) -> None:
        super().__init__(url)
        self.session.headers["Accept"] = "text/html,*/*;q=0.8"
        self.get("/log-in/")
        self.post("/log-in/", username=person.name, password=password)

    def post(self, path: str, **fields: str) -> None:
        """Send what a form of the studio sends; raise ``Refused`` if no other page follows."""
        data = {"csrfmiddlewaretoken": self.session.cookies["studio_csrftoken"], **fields}
        url = self.url + path
        response = self.session.post(url, data, timeout=TIMEOUT, allow_redirects=False)
        if response.status_code != 302:
            raise Refused(response.text)

    def cache(self, action: str, instance_id: str) -> None:
        """Press a button of the cache panel."""
        self.post("/cache/", action=action, instance_id=instance_id)


class ServiceAdmin(Client):
    """The superuser of a Config Service, at its admin's API."""

    def __init__(self, url: str, password: str = PASSWORD) -> None:
        super().__init__(url)
        self.session.auth = (ADMIN.name, password)

    def put(self, kind: str, pk: str, **fields: Any) -> None:
        """Set fields of an ``"instance"`` or ``"project"``, which is made if it is missing."""
        self._send("PATCH", f"{kind}/{pk}", fields)

    def switch(self, **fields: Any) -> None:
        """Set all switches: those that are not named go off."""
        self._send("PATCH", "switches/1", {**OFF, **fields})

    def delete(self, instance_id: str) -> None:
        """Delete an instance and its projects."""
        self._send("DELETE", f"instance/{instance_id}")

    def _send(self, method: str, path: str, fields: dict[str, Any] | None = None) -> None:
        url = f"{self.url}/admin/api/{path}"
        response = self.session.request(method, url, json=fields, timeout=TIMEOUT)
        if response.status_code != 204:
            raise Refused(response.text or f"The service answers {response.status_code}.")
