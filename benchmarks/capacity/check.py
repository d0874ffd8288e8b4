"""The simulator beside a real fleet: 8 processes, a Redis, and a service that counts its calls."""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean
from threading import Timer
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import django
import msgspec
import redis
from msgspec import Struct
from msgspec.structs import replace

from benchmarks.capacity.phases import COLD, INVALIDATED, STEADY, WARMED, Phase, simulate
from benchmarks.capacity.plan import Plan
from benchmarks.capacity.sizes import OVERHEAD, Sizes
from benchmarks.capacity.worker import Answered
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parent.parent.parent
LEAST = 200
"""What happened less often says little: chance alone moves it by more than 7 %."""
BOUND = 0.15
_SEEDS = 10
"""The simulator runs so often, and the mean counts."""
_STORED = 2_000
_PATIENCE = 60.0
"""Seconds for which a worker may be late with its answer."""


def plan_of(ttl: float) -> Plan:
    """Return a small fleet whose entries live for ``ttl`` seconds; all else goes with that."""
    from benchmarks import work  # noqa: PLC0415  # after Django is set up

    return Plan(
        instances=400,
        rps=240,
        processes=8,
        missing=0.02,
        missing_ids=20,
        document=len(work.body("i-123")),
        service_time=0.02,
        ttl=ttl,
        stale_max_age=3 * ttl,
        negative_ttl=ttl / 3,
        near_ttl=ttl / 5,
        near_size=20,
        window=round(2 * ttl),
        warm_rate=60.0,
    )


class Measured(Struct):
    """What the real fleet did in one phase."""

    answered: list[Answered]
    calls: list[float]
    """When each call of the service came, in seconds since the phase began."""
    commands: dict[str, int]
    sent: int
    """Bytes to Redis."""
    received: int
    """Bytes from Redis."""

    @property
    def failed(self) -> list[dict[str, int]]:
        """Of each process with requests that failed: how many, by their error."""
        return [each.failed for each in self.answered if each.failed]

    def sum(self, name: str) -> float:
        return float(sum(getattr(each, name) for each in self.answered))


class WorkerError(Exception):
    """A process of the fleet ended before it answered."""


class Line(Struct):
    """One number of one phase."""

    phase: str
    what: str
    simulated: float
    measured: float

    @property
    def counts(self) -> bool:
        """Whether it is compared. A process that waits for a core sends fewer PINGs than it may."""
        return self.simulated >= LEAST and self.what != "PING"

    @property
    def ratio(self) -> float:
        return self.measured / self.simulated


def main(ttl: float = 10.0) -> int:
    """Run both, print a table, and return 1 unless :func:`passes`."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    # Other requests each time, so that several runs tell more than one.
    plan = replace(plan_of(ttl), seed=secrets.randbelow(10**6))
    measured = measure(plan)
    for name, phase in measured.items():
        late = 1000 * mean(each.late for each in phase.answered)
        took = 1000 * phase.sum("service_seconds") / max(1, phase.sum("calls"))
        print(
            f"{name}: requests {late:.1f} ms late, calls took {took:.1f} ms, failed: {phase.failed}"
        )
    lines = compared(plan, measured)
    print(f"memory beside the entry: {OVERHEAD} bytes assumed, {overhead():.0f} measured\n")
    print(text(lines))
    return int(not passes(measured, lines))


def passes(measured: Mapping[str, Measured], lines: list[Line]) -> bool:
    """Tell whether no request failed, and all numbers are close to those of the simulator."""
    return not any(phase.failed for phase in measured.values()) and all(
        abs(line.ratio - 1) <= BOUND for line in lines if line.counts
    )


def text(lines: list[Line]) -> str:
    """Return the comparison as Markdown."""
    rows = [
        f"| {line.phase} | {line.what} | {line.simulated:,.0f} | {line.measured:,.0f} |"
        f" {f'{line.ratio:.2f}' if line.counts else 'few'} |"
        for line in lines
    ]
    return "\n".join(["| | | simulated | measured | ratio |", "|---|---|---:|---:|---:|", *rows])


def compared(plan: Plan, measured: Mapping[str, Measured]) -> list[Line]:
    """Return each number, as the simulator says and as it was.

    The simulator is told how long calls took in each phase: on a busy machine that is longer than
    the service waits.
    """
    sizes, lines = Sizes(plan), []
    for name, found in measured.items():
        took = found.sum("service_seconds") / found.sum("calls")
        plans = (replace(plan, service_time=took, seed=seed) for seed in range(_SEEDS))
        phases = [simulate(each)[name] for each in plans]
        commands = found.commands
        real: dict[str, float] = {
            "calls of the service": len(found.calls),
            "calls in the peak second": _peak(found.calls),
            **{f"answered from {part}": found.sum(key) for part, key in _PARTS.items()},
            **{kind: commands.get(kind.lower(), 0) for kind in (*phases[0].total.by_kind, "PING")},
            "KB to Redis": found.sent / 1000,
            "KB from Redis": found.received / 1000,
        }
        told = [_simulated(phase, sizes, plan.window) for phase in phases]
        lines += [
            Line(name, what, mean(each[what] for each in told), value)
            for what, value in real.items()
        ]
    return lines


_PARTS = {"memory": "near", "Redis": "shared", "the service": "waited", "a stale copy": "stale"}


def _simulated(phase: Phase, sizes: Sizes, window: int) -> dict[str, float]:
    total = phase.total
    return {
        "calls of the service": total.calls,
        "calls in the peak second": phase.peak_calls,
        **{f"answered from {part}": getattr(total, key) for part, key in _PARTS.items()},
        **total.by_kind,
        "PING": window * sizes.pings,
        "KB to Redis": sizes.sent(total, window) / 1000,
        "KB from Redis": sizes.answered(total, window) / 1000,
    }


def _peak(calls: list[float]) -> int:
    seconds = [int(call) for call in calls]
    return max(map(seconds.count, set(seconds)), default=0)


def measure(plan: Plan) -> dict[str, Measured]:
    """Run the fleet through all phases, and return what it did in each."""
    from benchmarks.capacity.service import CountingService  # noqa: PLC0415  # needs Django

    with RedisServer() as server, CountingService(plan) as service, ExitStack() as stack:
        command = [sys.executable, "-m", "benchmarks.capacity.worker", server.url(), service.url]
        command.append(msgspec.json.encode(plan).decode())
        workers = [stack.enter_context(_worker(command)) for _ in range(plan.processes)]
        assert {_heard(worker) for worker in workers} == {"ready"}
        client: Any = redis.Redis.from_url(server.url())
        seeds = iter(random.Random(plan.seed).sample(range(10**6), 1000))

        def watch() -> Measured:
            service.called_at.clear()
            client.config_resetstat()
            begun = monotonic()
            for worker in workers:
                _tell(worker, f"run {next(seeds)}")
            told = [_heard(worker, plan.window + _PATIENCE) for worker in workers]
            info = client.info("everything")
            return Measured(
                answered=[msgspec.json.decode(each, type=Answered) for each in told],
                calls=[moment - begun for moment in service.called_at],
                commands=_commands(info),
                sent=info["total_net_input_bytes"],
                received=info["total_net_output_bytes"],
            )

        found = {COLD: watch()}
        watch()  # until the steady state is reached
        found[STEADY] = watch()
        _order(workers[0], "invalidate")
        found[INVALIDATED] = watch()
        watch()
        _order(workers[0], "warm")
        found[WARMED] = watch()
        client.close()
        return found


def _commands(info: Mapping[str, Any]) -> dict[str, int]:
    """Return how often each command ran, by its name in lower case."""
    prefix = "cmdstat_"
    stats = {key: value for key, value in info.items() if key.startswith(prefix)}
    return {key.removeprefix(prefix): int(value["calls"]) for key, value in stats.items()}


def overhead() -> float:
    """Return how many bytes Redis takes for an instance beside its entry."""
    from benchmarks import work  # noqa: PLC0415  # after Django is set up

    with RedisServer() as server, work.caches_on(server.url()):
        client: Any = redis.Redis.from_url(server.url())
        resolver = work.resolver(near=False)
        resolver.resolve(work.context("first"))
        sleep(0.1)
        before = client.info("memory")["used_memory"]
        for number in range(_STORED):
            resolver.resolve(work.context(f"i-{number:04}"))
        size: int = client.strlen(":1:instance_config:i-0000")
        used = client.info("memory")["used_memory"] - before
        client.close()
        return float(used / _STORED - size)


@contextmanager
def _worker(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _order(worker: subprocess.Popen[str], order: str) -> None:
    _tell(worker, order)
    _heard(worker)


def _heard(worker: subprocess.Popen[str], seconds: float = _PATIENCE) -> str:
    """Return a worker's next line. One that is silent for so many ``seconds`` is killed."""
    assert worker.stdout is not None
    timer = Timer(seconds, worker.kill)
    timer.start()
    try:
        line = worker.stdout.readline().strip()
    finally:
        timer.cancel()
    if not line:
        status = worker.wait(_PATIENCE)
        raise WorkerError(
            f"A process of the fleet ended with status {status}, before it answered. One that does"
            f" not answer for {seconds:g} s is killed, with status -9."
        )
    return line


def _tell(worker: subprocess.Popen[str], order: str) -> None:
    assert worker.stdin is not None
    worker.stdin.write(f"{order}\n")
    worker.stdin.flush()


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:])))
