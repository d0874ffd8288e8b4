"""A whole site under load, with the configuration in its view and without."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

import requests
from msgspec import structs

from benchmarks import load, work
from benchmarks.machine import cores, pin, redis_on, watched
from benchmarks.results import Bound, Effort, Result
from benchmarks.rounds import in_turn, sampled
from benchmarks.site import HEADERS
from instance_lookup.testing import FakeConfigService
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.load import Load

ROOT = Path(__file__).parent.parent.parent
AT_ONCE = 32
COMMANDS = {
    "gunicorn": "benchmarks.site:wsgi() --workers 4 --threads 4 --keep-alive 60 "
    "--bind 127.0.0.1:{port} --no-control-socket --worker-tmp-dir {tmp}",
    "uvicorn": "benchmarks.site:asgi --factory --workers 4 --port {port} "
    "--no-access-log --log-level warning",
}


def measure(effort: Effort) -> list[Result]:
    there, here = cores()
    results = []
    # The server's Redis shares its core: what it costs, the site pays.
    with (
        redis_on(there, client=there) as redis,
        FakeConfigService({work.ID: work.CONFIG}) as service,
    ):
        for server in COMMANDS:
            pin(there)  # the server inherits it
            with _serving(server, redis.url(), service.url) as port:
                pin(here)
                results.append(_measure(effort, server, port, site_core=there, load_core=here))
    return results


def _measure(effort: Effort, server: str, port: int, *, site_core: int, load_core: int) -> Result:
    seconds = 0.5 if effort.quick else 3.0
    loads = {
        f"view {kind}": partial(_put, port, f"/{server}/{kind}", seconds, site_core)
        for kind in ("without", "with")
    }
    taken = in_turn(loads, rounds=2 if effort.quick else 9)
    return Result(
        title=f"Requests a second of a whole site, {server}, 4 workers",
        unit="requests/s",
        samples=sampled({name: [one.per_second for one in each] for name, each in taken.items()}),
        ours=("view with",),
        against="view without",
        bounds=(Bound("view with", 0.97, "view without", at_least=True),),
        placement=f"workers and Redis on core {site_core}, load on core {load_core}",
        notes=(_about([one for each in taken.values() for one in each]),),
    )


def _put(port: int, path: str, seconds: float, site_core: int) -> Load:
    with watched(site_core) as busy:
        found = load.put(port, path, HEADERS, seconds=seconds, at_once=AT_ONCE)
    return structs.replace(found, site_busy=busy())


def _about(loads: list[Load]) -> str:
    site = min(one.site_busy for one in loads)
    said = f"Load from {load.generator()}, {AT_ONCE} connections; the site's core was busy for at "
    said += f"least {site:.0%} of the time"
    busy = max(one.busy or 0.0 for one in loads)
    return f"{said}, the generator's for at most {busy:.0%}." if busy else f"{said}."


@contextmanager
def _serving(server: str, redis_url: str, service_url: str) -> Iterator[int]:
    """Run a server with four workers on a free port, and yield the port once it answers."""
    with (
        tempfile.TemporaryDirectory(prefix="instance-lookup-bench-") as directory,
        Path(directory, "log").open("wb") as log,
    ):
        port = free_port()
        options = COMMANDS[server].format(port=port, tmp=directory).split()
        command = [sys.executable, "-m", server, *options]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "BENCH_REDIS_URL": redis_url, "BENCH_SERVICE_URL": service_url},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _await_answer(f"http://127.0.0.1:{port}/{server}/with", Path(directory, "log"))
            yield port
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_answer(url: str, log: Path) -> None:
    give_up = monotonic() + 30
    with requests.Session() as session:
        session.trust_env = False
        while monotonic() < give_up:
            try:
                if session.get(url, headers=HEADERS, timeout=20).ok:
                    return
            except requests.RequestException:
                pass
            sleep(0.1)
    raise RuntimeError(f"the site does not start:\n{log.read_text()}")
