"""The events as instruments of a meter.

Near hits are no events: their number is added when the gauges are observed, and so shows at once or
the next time. No attribute holds an id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from instance_lookup import events
from instance_lookup.fetching.calls import label
from instance_lookup.operations.gauges import NearHits, gauges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.util.types import Attributes

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LONG = (60, 300, 600, 1200, 1800, 2400, 3000, 3600, 7200, 21_600, 86_400)
_GAUGES = {
    "breaker_state": (
        "breaker.state",
        "1",
        "Of the circuit breaker: 0 closed, 1 half open, 2 open.",
    ),
    "subscription_up": ("subscription.up", "1", "0 where invalidations may be missed, else 1."),
    "near_entries": ("near.entries", "{entry}", "Entries in the memory of the processes."),
    "flights": ("flights", "{fetch}", "Fetches under way."),
}


class Metrics:
    """A watcher that counts in instruments."""

    def __init__(self, provider: MeterProvider | None = None) -> None:
        """Make the instruments by ``provider``; ``None``: by the global one."""
        self._near_hits = NearHits()
        meter = get_meter("instance_lookup", meter_provider=provider)

        def counter(name: str, unit: str, text: str) -> Callable[[int, Attributes], None]:
            return meter.create_counter(f"instance_lookup.{name}", unit, text).add

        def histogram(
            name: str, text: str, buckets: tuple[float, ...]
        ) -> Callable[[float, Attributes], None]:
            return meter.create_histogram(
                f"instance_lookup.{name}", "s", text, explicit_bucket_boundaries_advisory=buckets
            ).record

        self._requests = counter("requests", "{lookup}", "Lookups that ended.")
        self._durations = histogram(
            "request.duration", "How long lookups took, without near hits.", _FAST
        )
        self._calls = counter(
            "service.requests",
            "{call}",
            "Calls to the Config Service, also to warm and to refresh ahead.",
        )
        self._call_durations = histogram(
            "service.duration", "How long calls to the Config Service took.", _FAST
        )
        self._cache = counter("cache.operations", "{operation}", "Uses of the shared cache.")
        self._ages = histogram(
            "stale.age", "How old the stale copies were that were served.", _LONG
        )
        self._runways = histogram(
            "stale.runway", "How long the stale copies that were served may yet be served.", _LONG
        )
        self._denied = counter("denied", "{denial}", "Users who were refused an instance.")
        self._rejected = counter(
            "rejected", "{document}", "What was refused: damaged, malformed or outdated."
        )
        self._invalidations = counter(
            "invalidations", "{invalidation}", "Invalidations, made or heard of."
        )
        self._delivered = counter("webhook.deliveries", "{delivery}", "Deliveries to the webhook.")
        for field, (name, unit, text) in _GAUGES.items():
            observe = _observing(field, self.update)
            meter.create_observable_gauge(f"instance_lookup.{name}", [observe], unit, text)

    def update(self) -> None:
        """Add the near hits since the last time."""
        if hits := self._near_hits.take():
            self._requests(hits, {"source": "near", "outcome": "ok"})

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.Lookup():
                source = event.source or "none"
                self._requests(1, {"source": source, "outcome": event.outcome})
                self._durations(event.seconds, {"source": source} | error_type(event.outcome))
                if event.stale_age is not None and event.runway is not None:
                    self._ages(event.stale_age, {})
                    self._runways(event.runway, {})
            case events.ServiceCall():
                outcome = label(event.outcome)
                self._calls(1, {"outcome": outcome})
                self._call_durations(event.seconds, error_type(outcome))
            case events.CacheOperation():
                self._cache(1, {"operation": event.operation, "outcome": event.outcome})
            case events.Denial():
                self._denied(1, {"by": event.by})
            case events.Rejection():
                self._rejected(1, {"reason": event.reason})
            case events.Invalidation():
                self._invalidations(1, {"scope": event.scope, "origin": event.origin})
            case events.Delivered():
                self._delivered(1, {"outcome": event.outcome})


def error_type(outcome: str) -> dict[str, str]:
    """Return the attribute that the semantic conventions have for what failed."""
    return {} if outcome in {"ok", "not_modified"} else {"error.type": outcome}


def _observing(
    field: str, update: Callable[[], None]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        update()
        yield Observation(getattr(gauges(), field))

    return observe
