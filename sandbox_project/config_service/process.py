"""Run a site of the sandbox as a process of its own, and change what a service answers.

It needs no Django.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer
from time import monotonic, sleep
from typing import IO, TYPE_CHECKING, Any, Final, Self, cast

import requests

if TYPE_CHECKING:
    from collections.abc import Mapping

MANAGE: Final = Path(__file__).parents[1] / "manage.py"
GREETING: Final = b"Listening on "
SIGNALS: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def stop_if_asked() -> None:
    """Raise ``KeyboardInterrupt`` if one of ``SIGNALS`` came, for a program that blocks them.

    Its servers inherit that, and stop at the end of their input. So no signal comes between
    starting something and noting down that it has to go.
    """
    if signal.sigpending() & SIGNALS:
        raise KeyboardInterrupt


class ServerProcess:
    """``manage.py serve`` of a site. Leaving the ``with`` block stops it."""

    def __init__(
        self,
        site: str,
        data_dir: Path,
        *options: str,
        port: int = 0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start it and wait until it listens.

        ``site`` is ``"config_service"`` or ``"studio"``, ``data_dir`` where its files go,
        ``options`` are more options of ``serve``, ``port`` 0 is a free one, ``env`` is added to the
        environment. Raises ``RuntimeError`` with the server's last words.
        """
        stop_if_asked()
        self.log = data_dir / f"{site}.log"
        """What the server writes to standard error."""
        command = [sys.executable, str(MANAGE), "serve", f"--settings={site}.settings"]
        with self.log.open("ab") as stderr:
            self.process = subprocess.Popen(  # noqa: S603 - our own manage.py
                [*command, f"--port={port}", "--stop-with-parent", *options],
                env={**os.environ, "SANDBOX_DATA_DIR": str(data_dir), **(env or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                bufsize=0,
            )
        line = next_line(self.process, 60)
        self.url = line.removeprefix(GREETING).decode().strip()
        if not line.startswith(GREETING):
            self.stop()
            raise RuntimeError(f"{site} did not start: {self.log.read_text()[-2000:]}")

    @property
    def port(self) -> int:
        """The port it listens on, to start it again on the same one."""
        return int(self.url.rpartition(":")[2])

    def stop(self) -> int:
        """Stop the server by the end of its input, or else by force, and return its exit code."""
        cast("IO[bytes]", self.process.stdin).close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        with self.process:
            return self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


def next_line(process: subprocess.Popen[bytes], timeout: float) -> bytes:
    """Read the next line that a process writes; it is killed if none comes in ``timeout`` s."""
    killer = Timer(timeout, process.kill)
    killer.start()
    try:
        return cast("IO[bytes]", process.stdout).readline()
    finally:
        killer.cancel()


class ServiceAdmin(requests.Session):
    """The superuser of a Config Service, at its admin's API."""

    def __init__(self, url: str, password: str) -> None:
        super().__init__()
        self.url = f"{url}/admin/api/"
        # A .netrc or a proxy of the machine has no business on loopback.
        self.trust_env = False
        self.auth = ("admin", password)

    def set(self, path: str, **fields: Any) -> None:
        """Set fields of ``"instance/…"`` or ``"project/…"``, which is made if it is missing."""
        self.change("PATCH", path, fields)

    def remove(self, instance_id: str) -> None:
        """Delete an instance and its projects."""
        self.change("DELETE", f"instance/{instance_id}")

    def switch(self, **fields: Any) -> None:
        """Set all switches: those that are not named go off."""
        self.change("DELETE", "switches/1")
        self.set("switches/1", **fields)

    def wait_until_told(self, seconds: float = 30) -> float:
        """Wait until all changes are delivered, and return for how many milliseconds it did.

        Raises ``RuntimeError`` if that takes longer than ``seconds``.
        """
        begun = monotonic()
        while waiting := self.get(f"{self.url}waiting", timeout=30).json()["waiting"]:
            if monotonic() > begun + seconds:
                raise RuntimeError(f"{waiting} changes could not be delivered in {seconds} s.")
            sleep(0.005)
        return (monotonic() - begun) * 1000

    def change(self, method: str, path: str, fields: dict[str, Any] | None = None) -> None:
        """Send a change; raise ``RuntimeError`` with what the service says if it refuses."""
        answer = self.request(method, self.url + path, json=fields, timeout=30)
        if answer.status_code != 204:
            raise RuntimeError(answer.text or f"The service answers {answer.status_code}.")
