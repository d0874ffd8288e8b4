"""docs/reference/metrics.md: what each metric counts, as each kind of event shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.metrics import Meter, NoOpMeter, NoOpMeterProvider
from prometheus_client import CollectorRegistry

from instance_lookup import events
from instance_lookup.contrib.opentelemetry.metrics import Metrics
from instance_lookup.contrib.prometheus.exporter import Exporter
from tests.reference.text import attribute_docs, cell, link, show

if TYPE_CHECKING:
    from prometheus_client import Metric

EXAMPLES: tuple[events.Event, ...] = (
    events.Lookup("stale_cache", "ok", 0.5, 600.0, 3000.0),
    events.ServiceCall("instance", "acme", "ok", 200, 0.0, 0.1, "r-1"),
    events.CacheOperation("read", "hit", 0.001),
    events.Denial("policy"),
    events.Rejection("document"),
    events.Invalidation("instance", "here"),
    events.Delivered("done"),
)
BESIDE = {
    ("instance_lookup_requests", "source"): (
        ' `"near"`: the memory of the process. `"none"`: there was no answer.'
    ),
    ("instance_lookup_request_duration_seconds", "source"): ' `"none"`: there was no answer.',
}
"""What a label says beside what the docstring of its event does."""
ENDINGS = {"counter": "_total"}
"""What Prometheus has at the end of a name."""


class Instrument(NamedTuple):
    """A metric of OpenTelemetry."""

    name: str
    unit: str


class Recording(NoOpMeterProvider):
    """Notes which instruments are made."""

    def __init__(self) -> None:
        self.instruments: list[Instrument] = []

    def get_meter(self, name: str, *args: Any, **kwargs: Any) -> Meter:
        made = self.instruments

        class Noting(NoOpMeter):
            def create_counter(self, name: str, unit: str = "", *args: Any) -> Any:
                made.append(Instrument(name, unit))
                return super().create_counter(name, unit, *args)

            def create_histogram(self, name: str, unit: str = "", *args: Any, **kw: Any) -> Any:
                made.append(Instrument(name, unit))
                return super().create_histogram(name, unit, *args, **kw)

            def create_observable_gauge(
                self, name: str, callbacks: Any = None, unit: str = "", *args: Any
            ) -> Any:
                made.append(Instrument(name, unit))
                return super().create_observable_gauge(name, callbacks, unit, *args)

        return Noting(name)


def index() -> None:
    """Show all metrics and what they say. Their names are too long for tables on a phone."""
    show("\n".join(f"* {link(_name(each))}: {cell(each.documentation)}" for each in _metrics()))


def entries() -> None:
    """Show each metric with its labels and its name in OpenTelemetry."""
    instruments = _instruments()
    labels = _labels()
    parts = []
    for each in _metrics():
        other = instruments[_key(each.name)]
        lines = [each.documentation, ""]
        lines += [f"* Type: {each.type}", f"* OpenTelemetry: `{other.name}`, unit `{other.unit}`"]
        lines += [
            f"* Label `{name}`: {cell(doc)}{BESIDE.get((each.name, name), '')}"
            for name, doc in labels.get(each.name, {}).items()
        ]
        parts.append(f"### {_name(each)}\n\n" + "\n".join(lines))
    show("\n\n".join(parts))


def _metrics() -> list[Metric]:
    registry = CollectorRegistry()
    Exporter(registry)
    return list(registry.collect())


def _name(metric: Metric) -> str:
    return metric.name + ENDINGS.get(metric.type, "")


def _labels() -> dict[str, dict[str, str]]:
    """Return what the labels of each metric mean: they are fields of the event that it counts."""
    found = {}
    for event in EXAMPLES:
        docs = attribute_docs(type(event))
        registry = CollectorRegistry()
        Exporter(registry)._note(event)
        for metric in registry.collect():
            names = {name for sample in metric.samples for name in sample.labels} - {"le"}
            if names:
                found[metric.name] = {name: docs[name] for name in docs if name in names}
    return found


def _instruments() -> dict[str, Instrument]:
    provider = Recording()
    Metrics(provider)
    return {_key(each.name): each for each in provider.instruments}


def _key(name: str) -> str:
    """Return what the names of a metric for Prometheus and OpenTelemetry have in common."""
    return name.replace(".", "_").removesuffix("_seconds")
