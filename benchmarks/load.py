"""Load on a site: by wrk where it is on PATH, else by ``python -m benchmarks.load``.

The generator here is one thread and a selector. It sends one prepared request on each connection,
counts the bytes of the answer, and sends the next. On a core of its own it keeps many times as many
requests going as Django answers on another, and it tells how busy it was, so that nobody has to
believe that. Sharing a core with the site it would draw every ratio towards 1.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from time import perf_counter, process_time

import msgspec
from msgspec import Struct

ROOT = Path(__file__).parent.parent
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Load(Struct):
    """What came of it."""

    per_second: float
    busy: float | None = None
    """The share of its core that the generator used; wrk does not tell."""
    site_busy: float = 0.0
    """The share of its core that the site used, if somebody watched."""


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "its own generator"


def put(port: int, path: str, headers: dict[str, str], *, seconds: float, at_once: int) -> Load:
    """Load one path in another process, which runs on the cores that this one is pinned to."""
    if wrk := shutil.which("wrk"):
        command = [wrk, "-t1", f"-c{at_once}", f"-d{max(1, round(seconds))}s"]
        for name, value in headers.items():
            command += ["-H", f"{name}: {value}"]
        command += [f"http://127.0.0.1:{port}{path}"]
        return _read_wrk(_said(command))
    given = [str(port), path, str(seconds), str(at_once), msgspec.json.encode(headers).decode()]
    return msgspec.json.decode(_said([sys.executable, "-m", "benchmarks.load", *given]), type=Load)


def _said(command: list[str]) -> str:
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout


def _read_wrk(said: str) -> Load:
    found = re.search(r"Requests/sec: *([\d.]+)", said)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"wrk met errors:\n{said}")
    return Load(float(found[1]))


class Connection:
    """One connection that has one request under way."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._request = request
        self._got = b""

    def ask(self) -> None:
        self._got = b""
        self.socket.sendall(self._request)
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


def run(port: int, path: str, headers: dict[str, str], *, seconds: float, at_once: int) -> Load:
    """Keep ``at_once`` requests under way for so long."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *map(": ".join, headers.items())]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    answers = 0
    with DefaultSelector() as selector:
        for _ in range(at_once):
            connection = Connection(port, request)
            selector.register(connection.socket, EVENT_READ, connection)
            connection.ask()
        begun, used = perf_counter(), process_time()
        while (now := perf_counter()) < begun + seconds:
            for key, _ in selector.select(timeout=1):
                if key.data.is_answered():
                    answers += 1
                    key.data.ask()
        taken, worked = now - begun, process_time() - used
        for key in list(selector.get_map().values()):
            key.data.socket.close()
    if not answers:
        raise RuntimeError(f"no whole answer from {path} in {seconds} s")
    return Load(answers / taken, worked / taken)


if __name__ == "__main__":
    _port, _path, _seconds, _at_once, _headers = sys.argv[1:]
    _made = run(
        int(_port),
        _path,
        msgspec.json.decode(_headers, type=dict[str, str]),
        seconds=float(_seconds),
        at_once=int(_at_once),
    )
    sys.stdout.buffer.write(msgspec.json.encode(_made))
