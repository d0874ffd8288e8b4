"""Processes that share one Redis, and ask when they are told to."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


class Caller:
    """A running ``tests.outages.caller``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def hears(self) -> str:
        """Return the next line it says; nothing when it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        """Have its users ask."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def answers(self) -> list[str]:
        """Return what came of each user's lookup."""
        told: list[str] = json.loads(self.hears())
        return told


@contextmanager
def caller(name: str, *, alias: str, users: list[str], **resolver: Any) -> Iterator[Caller]:
    """Run a process on the Redis behind ``alias``, ready to go, and end it by its pid.

    ``name`` is the request id that the service sees; ``resolver`` are options of the resolver.
    """
    config = settings.CACHES[alias]
    options = {
        "name": name,
        "redis_url": config["LOCATION"].partition("?")[0],
        "prefix": config["KEY_PREFIX"],
        "users": users,
        "resolver": resolver,
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.outages.caller", json.dumps(options)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Caller(process)
        finally:
            process.kill()
