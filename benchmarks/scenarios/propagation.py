"""How long it takes until every process serves what has changed, after an invalidation."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from time import monotonic, sleep

from benchmarks import work
from benchmarks.results import Bound, Effort, Result
from benchmarks.rounds import sampled
from instance_lookup.testing import FakeConfigService
from tests.support.redis_server import RedisServer

ROOT = Path(__file__).parent.parent.parent
PROCESSES = 8


def measure(effort: Effort) -> list[Result]:
    """Invalidate again and again, and have each process say when it served the new one."""
    rounds = 3 if effort.quick else 200
    with (
        RedisServer() as redis,
        FakeConfigService({work.ID: work.CONFIG}) as service,
        work.caches_on(redis.url()),
        ExitStack() as stack,
    ):
        resolver = work.resolver()
        command = [sys.executable, "-m", "benchmarks.propagation_worker"]
        command += [redis.url(), service.url, work.ID]
        watchers = [stack.enter_context(_watcher(command)) for _ in range(PROCESSES)]
        assert {_heard(watcher)[0] for watcher in watchers} == {"ready"}
        sleep(1)  # all of them are heard by now
        taken = []
        for number in range(rounds):
            service.instances[work.ID] = {**work.CONFIG, "r2_bucket": f"v{number}"}
            begun = monotonic()
            resolver.invalidate_cache(work.ID)
            seen = [_heard(watcher) for watcher in watchers]
            assert {version for version, _ in seen} == {f"v{number}"}
            taken.append([1000 * (float(moment) - begun) for _, moment in seen])
        for watcher in watchers:
            watcher.terminate()
    each = [delay for delays in taken for delay in delays]
    return [
        Result(
            title=f"From an invalidation until it is seen, with {PROCESSES} processes",
            unit="ms",
            samples=sampled({"one process": each, "the last of them": [max(d) for d in taken]}),
            ours=("one process", "the last of them"),
            bounds=(Bound("the last of them", 1000),),
            placement="on all cores",
            notes=(
                f"One process, 99th percentile: {quantiles(each, n=100)[98]:.1f} ms. It begins "
                "before the invalidation is written, and ends with the new configuration fetched "
                "from the service; each process looks every half millisecond.",
            ),
        )
    ]


def _watcher(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _heard(watcher: subprocess.Popen[str]) -> tuple[str, str]:
    assert watcher.stdout is not None
    version, _, moment = watcher.stdout.readline().strip().partition(" ")
    return version, moment
