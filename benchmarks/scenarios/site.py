"""A whole site under load, with the configuration in its view and without."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from statistics import stdev
from time import monotonic, sleep
from typing import TYPE_CHECKING

import requests
from msgspec import Struct, structs

from benchmarks import load, work
from benchmarks.load import Order
from benchmarks.machine import cores, pin, redis_on, watched
from benchmarks.results import Bound, Effort, Result
from benchmarks.rounds import Sample
from instance_lookup.testing import FakeConfigService
from tests.support.server_process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.load import Load

ROOT = Path(__file__).parent.parent.parent
AT_ONCE = 32
TURN = 0.03
"""Seconds of new requests of one view; then come the last answers, and the other view's turn."""
ROUNDS = {"gunicorn": 600, "uvicorn": 300}
"""Of two turns for each view: as many as it takes for a standard error of some 0.3 %."""
COMMANDS = {
    "gunicorn": "benchmarks.site:wsgi() --workers 4 --threads 4 --keep-alive 60 "
    "--bind 127.0.0.1:{port} --no-control-socket --worker-tmp-dir {tmp}",
    "uvicorn": "benchmarks.site:asgi --factory --workers 4 --port {port} "
    "--no-access-log --log-level warning",
}


class Site(Struct):
    """A site that is up, and what the requests of a user who is logged in carry."""

    port: int
    headers: dict[str, str]


def measure(effort: Effort) -> list[Result]:
    there, here = cores()
    results: list[Result] = []
    # The server's Redis shares its core: what it costs, the site pays.
    with (
        redis_on(there, client=there) as redis,
        FakeConfigService({work.ID: work.CONFIG}) as service,
    ):
        for server in COMMANDS:
            pin(there)  # the server inherits it
            with _serving(server, redis.url(), service.url) as site:
                pin(here)
                results += _measure(effort, server, site, site_core=there, load_core=here)
    return results


def _measure(
    effort: Effort, server: str, site: Site, *, site_core: int, load_core: int
) -> Iterator[Result]:
    ours, other = f"/{server}/with", f"/{server}/without"
    order = Order(site.port, site.headers, [other, ours], AT_ONCE, TURN, rounds=ROUNDS[server])
    if effort.quick:
        order.rounds = 2
    load.put(structs.replace(order, rounds=2 if effort.quick else 20))  # to warm up
    with watched(site_core) as site_busy:
        turns = load.put(order)
    result = Result(
        title=f"Requests a second of a whole site, {server}, 4 workers, turn by turn",
        unit="requests/s",
        samples=_samples(turns),
        ours=("view with",),
        against="view without",
        bounds=(Bound("view with", 0.97, "view without", at_least=True),),
        placement=f"workers and Redis on core {site_core}, load on core {load_core}",
        notes=(
            f"{order.rounds} rounds, in each two turns of {order.seconds} s for either view, "
            f"{AT_ONCE} connections; standard error of the ratio {_error(turns, ours, other):.4f}. "
            f"The site's core was busy for {site_busy():.0%} of the time, the generator's for "
            f"{turns.busy:.0%}.",
        ),
    )
    yield result
    order.seconds, order.rounds = (1, 1) if effort.quick else (3, 3)
    try:
        alone = load.wrk(order)
    except FileNotFoundError:
        return
    yield structs.replace(
        result,
        title=f"Requests a second of a whole site, {server}, 4 workers, by wrk",
        samples=_samples(alone),
        bounds=(),
        notes=(f"{order.rounds} turns of {order.seconds:g} s each, {AT_ONCE} connections.",),
    )


def _error(found: Load, ours: str, other: str) -> float:
    """Return the standard error of the mean ratio; that of the median is about a quarter more."""
    pairs = zip(found.per_second[ours], found.per_second[other], strict=True)
    ratios = [a / b for a, b in pairs]
    return float(stdev(ratios) / len(ratios) ** 0.5)


def _samples(found: Load) -> dict[str, Sample]:
    return {
        f"view {path.rpartition('/')[2]}": Sample(tuple(rounds))
        for path, rounds in found.per_second.items()
    }


@contextmanager
def _serving(server: str, redis_url: str, service_url: str) -> Iterator[Site]:
    """Run a server with four workers on a free port, and yield the site once it answers."""
    with (
        tempfile.TemporaryDirectory(prefix="instance-lookup-bench-") as directory,
        Path(directory, "log").open("wb") as log,
    ):
        port = free_port()
        options = COMMANDS[server].format(port=port, tmp=directory).split()
        command = [sys.executable, "-m", server, *options]
        environment = {
            **os.environ,
            "BENCH_REDIS_URL": redis_url,
            "BENCH_SERVICE_URL": service_url,
            "BENCH_DATABASE": str(Path(directory, "db.sqlite3")),
        }
        migrate = [sys.executable, "-m", "django", "migrate", "--settings", "benchmarks.site"]
        subprocess.run([*migrate, "--verbosity", "0"], cwd=ROOT, env=environment, check=True)
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            cookie = _logged_in(f"http://127.0.0.1:{port}/login", Path(directory, "log"))
            yield Site(port, {"X-Instance-ID": work.ID, "Cookie": cookie})
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _logged_in(url: str, log: Path) -> str:
    """Return the cookie of a session, once the site gives one."""
    give_up = monotonic() + 30
    with requests.Session() as session:
        session.trust_env = False
        while monotonic() < give_up:
            try:
                if cookie := session.get(url, timeout=20).cookies.get("sessionid"):
                    return f"sessionid={cookie}"
            except requests.RequestException:
                pass
            sleep(0.1)
    raise RuntimeError(f"the site does not start:\n{log.read_text()}")
