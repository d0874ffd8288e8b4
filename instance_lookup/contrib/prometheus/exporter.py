"""The events as metrics of prometheus_client.

Events are counted as they happen. Near hits are no events, and gauges are the state of a moment:
both are brought up to date when this process is scraped. In multiprocess mode the process that is
scraped reads the files of all others, so each process writes its own every few seconds.

No label holds an id: their values are few, and the same on every site.

The page docs/reference/metrics.md is made of this module. After a change run
``python -m tests.reference``.
"""

from __future__ import annotations

import os
from functools import cache
from threading import Event as Flag
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from instance_lookup import events
from instance_lookup.concurrency.forks import Guarded, check
from instance_lookup.concurrency.threads import start_daemon
from instance_lookup.fetching.calls import label
from instance_lookup.operations.gauges import NearHits, gauges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from threading import Thread

    from prometheus_client import Metric

PAUSE = 5.0
"""Seconds between two writes of what is not told as it happens, in multiprocess mode."""
_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LONG = (60, 300, 600, 1200, 1800, 2400, 3000, 3600, 7200, 21_600, 86_400)
_GAUGES = {
    "breaker_state": ("Of the circuit breaker: 0 closed, 1 half open, 2 open.", "max"),
    "subscription_up": ("0 where invalidations may be missed, else 1.", "min"),
    "near_entries": ("Entries in the memory of the processes.", "sum"),
    "flights": ("Fetches under way.", "sum"),
}
"""What each says, and what counts of the values of several processes."""


class Exporter(Guarded):
    """Counts what happens in this process, from :meth:`start` to :meth:`stop`.

    The lock protects ``_writer``, and ``_stopped``, which ends it. One thread writes in
    multiprocess mode. The first event of each process starts it, so that a child of a server that
    loads the site before it forks has one.
    """

    _writer: Thread | None
    _stopped: Flag

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        """Register the metrics. Raise ``ValueError`` where the ``registry`` has them already."""
        super().__init__()
        self._is_shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self._near_hits = NearHits()
        # First: a registry collects in this order, so the metrics are brought up to date by then.
        registry.register(self)
        try:
            self._register_metrics(registry)
        except ValueError:
            registry.unregister(self)  # else each later scrape would fail
            raise

    def _register_metrics(self, registry: CollectorRegistry) -> None:
        name = "instance_lookup_{}".format

        def counter(of: str, text: str, *labels: str) -> Callable[..., Counter]:
            # Cached: to find the series of some labels takes longer than to add to it.
            return cache(Counter(name(of), text, labels, registry=registry).labels)

        def histogram(of: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name(of), text, labels, buckets=buckets, registry=registry)

        def gauge(of: str, text: str, over: str) -> Gauge:
            # "live": of the processes that are there. ``over``: what counts of their values.
            return Gauge(name(of), text, multiprocess_mode=f"live{over}", registry=registry)  # type: ignore[arg-type]

        self._requests = counter("requests", "Lookups that ended.", "source", "outcome")
        durations = histogram(
            "request_duration_seconds",
            "How long lookups took, without near hits.",
            "source",
            buckets=_FAST,
        )
        self._durations = cache(durations.labels)
        self._calls = counter(
            "service_requests",
            "Calls to the Config Service, also to warm and to refresh ahead.",
            "outcome",
        )
        self._call_durations = histogram(
            "service_duration_seconds", "How long calls to the Config Service took.", buckets=_FAST
        )
        self._cache = counter(
            "cache_operations", "Uses of the shared cache.", "operation", "outcome"
        )
        self._ages = histogram(
            "stale_age_seconds", "How old the stale copies were that were served.", buckets=_LONG
        )
        self._runways = histogram(
            "stale_runway_seconds",
            "How long the stale copies that were served may yet be served.",
            buckets=_LONG,
        )
        self._denied = counter("denied", "Users who were refused an instance.", "by")
        self._rejected = counter(
            "rejected", "What was refused: damaged, malformed or outdated.", "reason"
        )
        self._invalidations = counter(
            "invalidations", "Invalidations, made or heard of.", "scope", "origin"
        )
        self._delivered = counter("webhook_deliveries", "Deliveries to the webhook.", "outcome")
        self._gauges = {of: gauge(of, *about) for of, about in _GAUGES.items()}

    def start(self) -> None:
        """Count from now on."""
        self.update()  # else a process that is never asked, such as a master, would seem deaf
        events.watch(self._note)

    def stop(self) -> None:
        """Count no longer. The numbers stay."""
        events.unwatch(self._note)
        with self._lock:
            self._stopped.set()
            self._stopped, self._writer = Flag(), None

    def update(self) -> None:
        """Bring up to date what is no event: near hits, and what this process is like now."""
        if hits := self._near_hits.take():
            self._requests("near", "ok").inc(hits)
        now = gauges()
        for name, gauge in self._gauges.items():
            gauge.set(getattr(now, name))

    def collect(self) -> Iterable[Metric]:
        """Bring the metrics up to date, for a registry that collects. Has none of its own."""
        self.update()
        return ()

    def describe(self) -> Iterable[Metric]:
        """Return that this has no names, for a registry that registers."""
        return ()

    def _note(self, event: events.Event) -> None:
        if self._is_shared and self._writer is None:
            self._start_writer()
        match event:
            case events.Lookup():
                source = event.source or "none"
                self._requests(source, event.outcome).inc()
                self._durations(source).observe(event.seconds)
                if event.stale_age is not None and event.runway is not None:
                    self._ages.observe(event.stale_age)
                    self._runways.observe(event.runway)
            case events.ServiceCall():
                self._calls(label(event.outcome)).inc()
                self._call_durations.observe(event.seconds)
            case events.CacheOperation():
                self._cache(event.operation, event.outcome).inc()
            case events.Denial():
                self._denied(event.by).inc()
            case events.Rejection():
                self._rejected(event.reason).inc()
            case events.Invalidation():
                self._invalidations(event.scope, event.origin).inc()
            case events.Delivered():
                self._delivered(event.outcome).inc()

    def _start_writer(self) -> None:
        check()
        with self._lock:
            if self._writer is None:
                self.update()  # the files of a child begin with zeros
                self._writer = start_daemon("instance-lookup-metrics", self._write, self._stopped)

    def _write(self, stopped: Flag) -> None:
        while not stopped.wait(PAUSE):
            self.update()

    def _start_over(self) -> None:
        super()._start_over()
        self._writer = None
        self._stopped = Flag()
