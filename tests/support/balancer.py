"""A balancer in front of a server, which forgets connections that are idle, as real ones do."""

from __future__ import annotations

import select
import socket
import struct
import threading
from contextlib import suppress
from typing import Self

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: closing sends RST."""


class Balancer:
    """Passes bytes between its own port and another one.

    It says nothing when it forgets a connection; it answers the next packet on it with RST.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._generation = 0
        self.refuses = False
        """Whether to forget each new connection at once."""
        self.accepted = 0
        self.resets = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.forget()

    def forget(self) -> None:
        """Forget all connections that there are."""
        self._generation += 1

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                server = socket.create_connection(self._target, timeout=30)
                threading.Thread(target=self._pass_on, args=[client, server], daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        born = self._generation - self.refuses
        with client, server, suppress(OSError):
            while True:
                ready, _, _ = select.select([client, server], [], [], 60)
                for one, other in ((client, server), (server, client)):
                    if one in ready:
                        if not (data := one.recv(65536)):
                            return
                        if born != self._generation:
                            self.resets += 1
                            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                            return
                        other.sendall(data)
