"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register


class InstanceLookupConfig(AppConfig):
    """Starts nothing and asks nothing: connections and threads are made on first use."""

    name = "instance_lookup"
    verbose_name = "Instance lookup"

    def ready(self) -> None:
        """Register the system checks."""
        from instance_lookup import checks  # noqa: PLC0415  # imports the middleware and its world

        register(checks.check_settings, Tags.compatibility)
        register(checks.check_middleware, Tags.compatibility)
        register(checks.check_deployment, Tags.security, deploy=True)
