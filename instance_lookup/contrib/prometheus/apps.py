"""The app that counts for Prometheus."""

from __future__ import annotations

from django.apps import AppConfig

from instance_lookup.contrib.prometheus.exporter import Exporter


class PrometheusConfig(AppConfig):
    """Counts in the default registry of prometheus_client from the start of each process."""

    name = "instance_lookup.contrib.prometheus"
    label = "instance_lookup_prometheus"
    verbose_name = "Metrics of instance_lookup for Prometheus"
    exporter: Exporter | None = None

    def ready(self) -> None:
        """Begin to count. Once: a registry takes each name only once."""
        if PrometheusConfig.exporter is None:
            PrometheusConfig.exporter = Exporter()
        PrometheusConfig.exporter.start()
