"""A hundred, ten thousand and a million instances, asked for as fame has it (zipf, alpha 1)."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from django.core.cache import caches

from benchmarks import work
from benchmarks.machine import cores, redis_on
from benchmarks.results import Bound, Effort, Result
from benchmarks.rounds import Sample, in_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Growth = tuple[float, float]

ROOT = Path(__file__).parent.parent.parent
AT_ONCE = 1_000
FLAT = 1.25
"""What still counts as flat: more instances also are more misses of the processor's caches."""


def measure(effort: Effort) -> list[Result]:
    client, server = cores()
    sizes = (100, 1_000) if effort.quick else (100, 10_000, 1_000_000)
    with ExitStack() as stack:
        redis_server = stack.enter_context(redis_on(server, client=client))
        urls = [redis_server.url(db) for db in range(len(sizes))]
        for size, url in zip(sizes, urls, strict=True):
            _fill(url, size)
        asks: dict[str, Callable[[], Growth]] = {}
        for flag in ("", "--far"):
            for size, url in zip(sizes, urls, strict=True):
                ask = stack.enter_context(_worker(url, size, flag))
                asks[f"{size:,}{flag}"] = partial(ask, effort.calls(20_000, quick=200))
        taken = in_turn(asks, rounds=effort.rounds(10))
    where = f"client on core {client}, Redis on core {server}"
    return _results([f"{size:,}" for size in sizes], taken, where)


def _results(sizes: list[str], taken: dict[str, list[Growth]], placement: str) -> list[Result]:
    few, some, most = sizes[0], sizes[-2], sizes[-1]

    def result(title: str, unit: str, flag: str, field: int, *bounds: Bound) -> Result:
        return Result(
            title=title,
            unit=unit,
            samples={
                size: Sample(tuple(each[field] for each in taken[f"{size}{flag}"]))
                for size in sizes
            },
            ours=tuple(sizes),
            against=few if field == 0 else None,
            bounds=bounds,
            placement=placement,
        )

    return [
        result("Instances in Redis: a resolve()", "µs", "", 0),
        result(
            "Instances in Redis: a resolve() that keeps nothing near",
            "µs",
            "--far",
            0,
            Bound(most, FLAT, few),
        ),
        result("Instances in Redis: growth of the process", "MiB", "", 1, Bound(most, FLAT, some)),
    ]


def _fill(url: str, many: int) -> None:
    """Store so many instances as the resolver stores one."""
    with work.caches_on(url):
        work.resolver(near=False, cache_ttl=3600).resolve(work.context("i-0"))
        cache = caches["default"]
        keys = {part: cache.make_key(f"instance_{part}:i-0") for part in ("config", "generation")}
    client: Any = redis.Redis.from_url(url)
    stored = {key: client.get(key) for key in keys.values()}
    for first in range(0, many, AT_ONCE):
        client.mset(
            {
                key.replace("i-0", f"i-{number}"): value.replace(b'"i-0"', b'"i-%d"' % number)
                for number in range(first, min(first + AT_ONCE, many))
                for key, value in stored.items()
            }
        )
    client.close()


@contextmanager
def _worker(url: str, many: int, flag: str) -> Iterator[Callable[[int], Growth]]:
    command = [sys.executable, "-m", "benchmarks.scale_worker", url, str(many), *flag.split()]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        assert stdout.readline() == "ready\n"

        def ask(calls: int) -> Growth:
            stdin.write(f"{calls}\n")
            stdin.flush()
            microseconds, megabytes = map(float, stdout.readline().split())
            return microseconds, megabytes

        yield ask
        stdin.close()
