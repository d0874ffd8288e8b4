"""Metrics for Prometheus: add this app to INSTALLED_APPS. Needs the extra ``prometheus``.

``exporter``: the metrics. ``apps``: registers them with the default registry of prometheus_client.
Not here: a page that shows them; projects have one, or prometheus_client's own.
"""
