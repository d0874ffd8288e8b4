"""Metrics and spans for OpenTelemetry: add this app to INSTALLED_APPS. Needs the extra of its name.

``metrics``: the counters, histograms and gauges. ``spans``: of lookups, reads of the cache, calls.
``apps``: has both told of what happens.
Not here: where they are sent, which the project sets up as OpenTelemetry's documentation says.
"""
