"""How often the service is asked when many want one instance that is not cached."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import peers, work
from benchmarks.results import Bound, Effort, Result
from benchmarks.rounds import in_turn, sampled
from instance_lookup.testing import FakeConfigService
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent.parent
WHO = (
    "naive",
    "dogpile distributed lock",
    "cashews",
    "cashews lock",
    "resolve()",
    "await aresolve()",
)
LIBRARIES = ("dogpile", "cashews")
SERVICE_TIME = 0.2


def measure(effort: Effort) -> list[Result]:
    with RedisServer() as redis:
        return [
            _measure(effort, redis, processes=processes, callers=callers)
            for processes, callers in ((1, 40), (6, 4))
        ]


def _measure(effort: Effort, redis: RedisServer, *, processes: int, callers: int) -> Result:
    crowds, missing = peers.build_all(
        {name: partial(_crowd, name, redis, processes=processes, callers=callers) for name in WHO}
    )
    taken = in_turn(crowds, rounds=1 if effort.quick else 5, warm_up=False)
    return Result(
        title=f"Calls of the service: {processes} × {callers} cold callers",
        unit="calls",
        samples=sampled(taken),
        ours=("resolve()", "await aresolve()"),
        bounds=(Bound("resolve()", 1), Bound("await aresolve()", 1)),
        placement="on all cores",
        missing=missing,
        notes=(f"The service takes {1000 * SERVICE_TIME:g} ms.",),
    )


def _crowd(
    contender: str, redis: RedisServer, *, processes: int, callers: int
) -> Callable[[], float]:
    if (library := contender.partition(" ")[0]) in LIBRARIES:
        peers.load(library)

    def ask() -> float:
        """Have all of them ask a service that counts, and return how often it was asked."""
        redis.command("FLUSHALL")
        with FakeConfigService({work.ID: work.CONFIG}) as service, ExitStack() as stack:
            service.delay(SERVICE_TIME)
            command = [sys.executable, "-m", "benchmarks.crowd_worker", contender]
            command += [redis.url(), service.url, work.ID, str(callers)]
            workers = [stack.enter_context(_worker(command)) for _ in range(processes)]
            assert {_heard(worker) for worker in workers} == {"ready"}
            for worker in workers:
                _tell(worker)
            answered = [_heard(worker) for worker in workers]
            assert answered == [str(callers)] * processes, answered
            return float(len(service.requests))

    return ask


def _worker(command: list[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


def _heard(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


def _tell(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()
