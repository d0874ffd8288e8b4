"""A balancer of TCP that forgets: ``python -m benchmarks.soak_balancer UPSTREAM_PORT``, until EOF.

It prints the port it listens on. A line on its standard input makes it forget the connections that
are idle at that moment, as firewalls and balancers do after some minutes: neither side hears of it,
and the next packet of the client is answered with RST.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from time import monotonic

IDLE = 0.02
"""Seconds without a packet."""


class Connection:
    """One client, and its connection to the server behind the balancer."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._sides = client, server
        self.last = monotonic()
        self.forgotten = False

    async def pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, notices: bool
    ) -> None:
        """Pass on what comes from ``source``; if it ``notices``, end a forgotten connection."""
        while data := await source.read(65536):
            if notices and self.forgotten:
                break
            self.last = monotonic()
            sink.write(data)
            await sink.drain()
        self.reset()

    def reset(self) -> None:
        for side in self._sides:
            reset(side)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def main() -> None:
    upstream = int(sys.argv[1])
    connections: set[Connection] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", upstream)
        except OSError:
            reset(writer)
            return
        connection = Connection(writer, to_server)
        connections.add(connection)
        pumps = (
            connection.pump(reader, to_server, notices=True),
            connection.pump(from_server, writer, notices=False),
        )
        await asyncio.gather(*pumps, return_exceptions=True)
        connection.reset()
        connections.discard(connection)

    loop, lines = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with await asyncio.start_server(serve, "127.0.0.1", 0, backlog=256) as server:
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        while await lines.readline():
            for connection in connections:
                connection.forgotten |= monotonic() - connection.last > IDLE


if __name__ == "__main__":
    asyncio.run(main())
