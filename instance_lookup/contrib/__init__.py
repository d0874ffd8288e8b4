"""Integrations with other packages, one module or app each; the rest of the app imports none.

``prometheus``, ``opentelemetry``: metrics, and spans. ``openfeature``: flags.
``celery``, ``django_tasks``: tasks that know their instance.

Each needs the extra of its name, unless Django alone is enough for it.
"""
