"""A process that looks up one of many instances: ``python -m benchmarks.scale_worker REDIS MANY``.

Sent a number, it makes so many lookups and says what one took, in microseconds, and by how much
the process has grown since it began, in MiB. With ``--far`` nothing is kept near.
"""

from __future__ import annotations

import gc
import math
import os
import random
import resource
import sys
from pathlib import Path
from time import perf_counter_ns

import django


def main(redis_url: str, many: str, *flags: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()

    from benchmarks import work  # noqa: PLC0415  # after Django is set up

    def refuse(instance_id: str) -> bytes:
        raise AssertionError(f"{instance_id!r} is not in Redis")

    dice, instances = random.Random(1), int(many)
    with work.caches_on(redis_url):
        # No entry becomes due for a new fetch during the measurement.
        resolver = work.resolver(refuse, near="--far" not in flags, refresh_ahead=None)
        resolver.resolve(work.context("i-0"))
        gc.collect()
        before = _megabytes()
        print("ready", flush=True)
        for line in sys.stdin:
            asked = [work.context(f"i-{zipf(dice, instances)}") for _ in range(int(line))]
            begun = perf_counter_ns()
            for context in asked:
                resolver.resolve(context)
            taken = (perf_counter_ns() - begun) / len(asked) / 1_000
            del asked
            gc.collect()
            print(taken, _megabytes() - before, flush=True)


def zipf(dice: random.Random, many: int) -> int:
    """Draw a rank from 0 on, each with a chance of 1/rank: what alpha = 1 is, without a table."""
    return min(many - 1, int(math.exp(dice.random() * math.log(many + 1))) - 1)


def _megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # without waiting for the thread that listens
