"""The app that tells OpenTelemetry."""

from __future__ import annotations

from django.apps import AppConfig

from instance_lookup import events
from instance_lookup.contrib.opentelemetry.metrics import Metrics
from instance_lookup.contrib.opentelemetry.spans import Spans


class OpenTelemetryConfig(AppConfig):
    """Tells the global providers, also where they are set later than this is ready."""

    name = "instance_lookup.contrib.opentelemetry"
    label = "instance_lookup_opentelemetry"
    verbose_name = "Metrics and spans of instance_lookup for OpenTelemetry"
    metrics: Metrics | None = None
    spans: Spans | None = None

    def ready(self) -> None:
        """Begin to tell. Once: a meter warns of an instrument that is made twice."""
        app = OpenTelemetryConfig
        if app.metrics is None or app.spans is None:
            app.metrics, app.spans = Metrics(), Spans()
        # Metrics first: an exemplar of a metric names the span that is still open then.
        events.watch(app.metrics)
        events.watch(app.spans)
