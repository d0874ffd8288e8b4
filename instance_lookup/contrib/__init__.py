"""Integrations with other packages, one module or app each; the rest of the app imports none.

``prometheus``, ``opentelemetry``: metrics, and spans. ``openfeature``: flags.
``admin``: pages in Django's admin. ``health_check``: a check for django-health-check.
``debug_toolbar``: a panel of django-debug-toolbar.
``celery``, ``django_tasks``: tasks that know their instance.

Each needs the extra of its name, unless Django alone is enough for it.
"""
