"""Load on a site: by wrk where it is on PATH, and by ``python -m benchmarks.load``.

The generator here is one thread and a selector. It sends one prepared request on each connection,
counts the bytes of the answer, and sends the next. On a core of its own it keeps many times as many
requests going as Django answers on another, and it tells how busy it was, which
proves that. Sharing a core with the site it would draw every ratio towards 1.

It changes from one path to the next many times a second, which wrk cannot: what a shared machine
does to a second is more than the difference that is looked for.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from time import perf_counter, process_time

import msgspec
from msgspec import Struct

ROOT = Path(__file__).parent.parent
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Load(Struct):
    """The result of a load: requests per second for each path, round by round."""

    per_second: dict[str, list[float]]
    busy: float | None = None
    """The share of its core that the generator used; wrk does not tell."""
    site_busy: float = 0.0
    """The share of its core that the site used, if that was measured."""


class Order(Struct):
    """The load that is to be made."""

    port: int
    headers: dict[str, str]
    paths: list[str]
    at_once: int
    seconds: float
    """Of one path in one round."""
    rounds: int


def wrk(order: Order) -> Load:
    """Load each path in turn with wrk. Raise ``FileNotFoundError`` where there is none."""
    command = ["wrk", "-t1", f"-c{order.at_once}", f"-d{max(1, round(order.seconds))}s"]
    for name, value in order.headers.items():
        command += ["-H", f"{name}: {value}"]
    found: dict[str, list[float]] = {path: [] for path in order.paths}
    for _ in range(order.rounds):
        for path, rates in found.items():
            rates.append(_read_wrk(_said([*command, f"http://127.0.0.1:{order.port}{path}"])))
    return Load(found)


def put(order: Order) -> Load:
    """Make the load with our own generator, in a process on the cores of this one."""
    given = msgspec.json.encode(order).decode()
    return msgspec.json.decode(_said([sys.executable, "-m", "benchmarks.load", given]), type=Load)


def _said(command: list[str]) -> str:
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout


def _read_wrk(said: str) -> float:
    found = re.search(r"Requests/sec: *([\d.]+)", said)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"wrk met errors:\n{said}")
    return float(found[1])


class Connection:
    """One connection, which has one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._got = b""

    def ask(self, request: bytes) -> None:
        self._got = b""
        self.socket.sendall(request)
        # Else a server without TCP_NODELAY sends the body 40 ms after the headers, when we have
        # acknowledged these, and the load is none.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def is_answered(self) -> bool:
        """Take what has come, and tell if it is all. Raise ``RuntimeError`` unless it is a 200."""
        chunk = self.socket.recv(65536)
        self._got += chunk
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not chunk or (end and b" 200 " not in head[:20]):
            raise RuntimeError(f"the site answered {self._got[:200]!r}")
        length = LENGTH.search(head)
        return bool(end) and length is not None and len(body) >= int(length[1])


def run(order: Order) -> Load:
    """Load the paths in turn, on connections that stay open."""
    lines = ["Host: 127.0.0.1", *map(": ".join, order.headers.items())]
    requests = {
        path: ("\r\n".join([f"GET {path} HTTP/1.1", *lines]) + "\r\n\r\n").encode()
        for path in order.paths
    }
    found: dict[str, list[float]] = {path: [] for path in order.paths}
    with DefaultSelector() as selector, ExitStack() as stack:
        for _ in range(order.at_once):
            connection = Connection(order.port)
            stack.enter_context(connection.socket)
            selector.register(connection.socket, EVENT_READ, connection)
        begun, used = perf_counter(), process_time()
        for _ in range(order.rounds):
            turns: dict[str, list[tuple[int, float]]] = {path: [] for path in order.paths}
            # There and back: each finds the processor's caches as the one before has left them.
            for path in (*order.paths, *reversed(order.paths)):
                turns[path].append(_turn(selector, requests[path], order.seconds))
            for path, taken in turns.items():
                answers, seconds = map(sum, zip(*taken, strict=True))
                found[path].append(answers / seconds)
        return Load(found, (process_time() - used) / (perf_counter() - begun))


def _turn(selector: DefaultSelector, request: bytes, seconds: float) -> tuple[int, float]:
    """Ask for so long, and wait for the last answers; return how many, and how long it took."""
    begun = perf_counter()
    connections = [key.data for key in selector.get_map().values()]
    for connection in connections:
        connection.ask(request)
    answers, under_way = 0, len(connections)
    while under_way:
        for key, _ in selector.select(timeout=20):
            if key.data.is_answered():
                answers += 1
                if perf_counter() - begun < seconds:
                    key.data.ask(request)
                else:
                    under_way -= 1
    return answers, perf_counter() - begun


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(run(msgspec.json.decode(sys.argv[1], type=Order))))
