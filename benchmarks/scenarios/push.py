"""How long it takes from a save at the Config Service until every process of a site serves it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from base64 import b64encode
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from time import monotonic
from typing import TYPE_CHECKING

from benchmarks.push_site import LOOK
from benchmarks.results import Bound, Effort, Result
from benchmarks.rounds import sampled
from tests.support.redis_server import RedisServer
from tests.support.server_process import free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "sandbox_project"))

from config_service.process import ServerProcess, ServiceAdmin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROCESSES = 8
ID = "studio-a"
TOKEN = "token-of-the-benchmark"
SECRET = f"whsec_{b64encode(b'the secret of the benchmark').decode()}"
COMMAND = (
    "gunicorn benchmarks.push_site:wsgi() --workers {workers} --threads 2 --bind 127.0.0.1:{port} "
    "--no-control-socket --worker-tmp-dir {folder} --log-level warning"
)


def measure(effort: Effort) -> list[Result]:
    """Save again and again, and have each process say when it served the new one."""
    rounds = 3 if effort.quick else 200
    taken, notes = {}, []
    for way in ("webhook", "stream"):
        with _sandbox(way) as (admin, heard):
            changes = [_change(admin, heard, f"v{number}") for number in range(rounds)]
        each = [delay for delays in changes for delay in delays]
        taken[f"{way}, one process"] = each
        taken[f"{way}, the last of them"] = [max(delays) for delays in changes]
        last = quantiles(taken[f"{way}, the last of them"], n=100)[98]
        notes.append(
            f"{way}, 99th percentile: one process {quantiles(each, n=100)[98]:.1f} ms, the last of"
            f" them {last:.1f} ms."
        )
    return [
        Result(
            title=f"From a save at the Config Service until it is seen, with {PROCESSES} processes",
            unit="ms",
            samples=sampled(taken),
            ours=tuple(taken),
            bounds=tuple(Bound(who, 1000) for who in taken if who.endswith("the last of them")),
            placement="on all cores",
            notes=(
                f"{rounds} changes each. " + " ".join(notes) + " It begins before the request that"
                " saves, and ends with the new configuration fetched from the service; each process"
                f" looks every {1000 * LOOK:g} ms.",
            ),
        )
    ]


def _change(admin: ServiceAdmin, heard: socket.socket, version: str) -> list[float]:
    """Save a new version; return after how many milliseconds each process served it."""
    begun = monotonic()
    admin.set(f"instance/{ID}", r2_bucket=version)
    seen: dict[str, float] = {}
    while len(seen) < PROCESSES:
        process, found, moment = heard.recv(1024).decode().split()
        if found == version:
            seen[process] = 1000 * (float(moment) - begun)
    return list(seen.values())


@contextmanager
def _sandbox(way: str) -> Iterator[tuple[ServiceAdmin, socket.socket]]:
    """Run service and site; yield the service's admin, and what hears the site's processes."""
    port = free_port()
    receivers = {f"http://127.0.0.1:{port}/webhook/": [SECRET]}
    service_environment = {
        "CONFIG_SERVICE_TOKEN": TOKEN,
        "CONFIG_SERVICE_WEBHOOKS": json.dumps(receivers if way == "webhook" else {}),
    }
    with (
        tempfile.TemporaryDirectory(prefix="instance-lookup-bench-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard,
        RedisServer() as redis,
        ServerProcess("config_service", Path(folder), "--seed", env=service_environment) as service,
        ServiceAdmin(service.url, "sandbox") as admin,
    ):
        heard.bind(f"{folder}/heard")
        heard.settimeout(60)
        site_environment = {
            "BENCH_REDIS_URL": redis.url(),
            "BENCH_SERVICE_URL": service.url,
            "BENCH_SERVICE_TOKEN": TOKEN,
            "BENCH_WEBHOOK_SECRET": SECRET,
            "BENCH_STREAM": "/stream" if way == "stream" else "",
            "BENCH_INSTANCE": ID,
            "BENCH_SOCKET": f"{folder}/heard",
        }
        with _site(port, folder, site_environment):
            started = {heard.recv(1024).split()[0] for _ in range(PROCESSES)}
            assert len(started) == PROCESSES
            if way == "stream":
                wait_until(lambda: "GET /stream 200" in service.log.read_text())
            for number in range(3):  # to warm up
                _change(admin, heard, f"warm-{number}")
            yield admin, heard


@contextmanager
def _site(port: int, folder: str, environment: Mapping[str, str]) -> Iterator[None]:
    words = COMMAND.format(workers=PROCESSES, port=port, folder=folder).split()
    process = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=ROOT, env={**os.environ, **environment}
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
