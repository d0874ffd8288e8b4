"""The machine: its cores, what is pinned to which, and the versions of all that takes part."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.redis_server import RedisServer, find_server
from tests.support.server_process import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DISTRIBUTIONS = (
    "Django",
    "msgspec",
    "requests",
    "redis",
    "django-redis",
    "dogpile.cache",
    "cashews",
    "requests-cache",
    "hishel",
    "gunicorn",
    "uvicorn",
)


def cores() -> tuple[int, int]:
    """Return the core that we run on, and another; the same one where there is no other."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def pin(*allowed: int) -> None:
    """Bind this process, all its threads, and what it starts from now on."""
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), allowed)


@contextmanager
def watched(core: int) -> Iterator[Callable[[], float]]:
    """Yield a function that tells, after the block, which share of the time a core was busy."""
    before = _ticks(core)
    after = before
    try:
        yield lambda: 1 - (after[0] - before[0]) / max(1, after[1] - before[1])
    finally:
        after = _ticks(core)


def _ticks(core: int) -> tuple[int, int]:
    """Return the ticks that a core has idled, and all."""
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        name, *spent = line.split()
        if name == f"cpu{core}":
            ticks = [int(each) for each in spent]
            return ticks[3] + ticks[4], sum(ticks)
    return 0, 0


@contextmanager
def redis_on(core: int, *, client: int) -> Iterator[RedisServer]:
    """Run a server on one core, and ourselves on another or the same."""
    before = os.sched_getaffinity(0)
    pin(core)  # the server inherits it
    try:
        with RedisServer() as server:
            pin(client)
            yield server
    finally:
        pin(*before)


def describe() -> dict[str, str]:
    """Return what ran it, for the head of a report."""
    return {
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()}, {platform.machine()}",
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "server": _server(),
        **{name: _version(name) for name in DISTRIBUTIONS},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _server() -> str:
    try:
        said = subprocess.run(
            [find_server(), "--version"], capture_output=True, text=True, check=True
        ).stdout
    except ServerError:
        return "none"
    return " ".join(said.split()[:3])


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
