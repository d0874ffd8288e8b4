"""What a lookup costs while it is watched: ``python -m benchmarks.watching [--quick]``.

A near hit and a shared hit: unwatched, counted for Prometheus, and told to OpenTelemetry (without
an SDK, as on a site that has not set one up), in turn, on the same resolvers.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from prometheus_client import CollectorRegistry

from benchmarks import work
from benchmarks.machine import cores, redis_on
from benchmarks.results import Effort
from benchmarks.rounds import interleaved, repeated
from instance_lookup import events
from instance_lookup.contrib.opentelemetry.metrics import Metrics
from instance_lookup.contrib.opentelemetry.spans import Spans
from instance_lookup.contrib.prometheus.exporter import Exporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.rounds import Sample

Watchers = tuple[events.Watcher, ...]


def watched(watchers: Watchers, batch: Callable[[int], object], calls: int) -> None:
    """Make a batch of calls while these watch, and no others."""
    events.watchers = watchers
    batch(calls)
    events.watchers = ()


def measure(effort: Effort) -> dict[str, dict[str, Sample]]:
    """Return the microseconds of each kind of hit, by what watches."""
    exporter = Exporter(CollectorRegistry())
    exporter.start()
    ways: dict[str, Watchers] = {
        "unwatched": (),
        "prometheus": events.watchers,
        "opentelemetry": (Metrics(), Spans()),
    }
    exporter.stop()
    core, _ = cores()
    with redis_on(core, client=core) as server, work.caches_on(server.url()):
        context = work.context()
        hits = {
            name: repeated(partial(work.resolver(near=near).resolve, context))
            for name, near in (("near", True), ("shared", False))
        }
        return {
            name: interleaved(
                {way: partial(watched, watchers, batch) for way, watchers in ways.items()},
                rounds=effort.rounds(40),
                calls=effort.calls(5_000 if name == "near" else 500),
            )
            for name, batch in hits.items()
        }


def main() -> None:
    print("| hit | watched by | µs | against unwatched |\n|---|---|---:|---:|")
    for hit, samples in measure(Effort(quick="--quick" in sys.argv)).items():
        for way, sample in samples.items():
            ratio = sample.ratio(samples["unwatched"])
            print(f"| {hit} | {way} | {sample.median:.2f} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
