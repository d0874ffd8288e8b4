"""A real memcached for the tests, where there is one: no wheel carries it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    import socket

PROGRAM = "memcached"


class MemcachedServer(ServerProcess):
    """A server with 64 MB, which refuses values of more than 1 MB as every memcached does."""

    @property
    def location(self) -> str:
        """The ``LOCATION`` of a cache."""
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End at once: asked to end, it takes a second, and has nothing to save."""
        self.kill()

    def _words(self, port: int) -> list[str]:
        program = shutil.which(PROGRAM)
        if program is None:
            pytest.skip("memcached is not on PATH (Debian: apt-get install memcached)")
        as_root = ["-u", "root"] if os.getuid() == 0 else []
        return [program, "-l", "127.0.0.1", "-p", str(port), "-U", "0", *as_root, *self.options]

    def _is_ours(self, connection: socket.socket) -> bool:
        connection.sendall(b"stats\r\n")
        return f"STAT pid {self.pid}\r".encode() in connection.recv(65536)
