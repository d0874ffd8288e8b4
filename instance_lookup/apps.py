"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register


class InstanceLookupConfig(AppConfig):
    """Starts nothing and asks nothing: connections and threads are made on first use.

    With ``REPORT_STATUS`` calls of the Config Service are noted from here on, and with
    ``CONFIG_SERVICE_STREAM`` the first lookup starts to listen.
    """

    name = "instance_lookup"
    verbose_name = "Instance lookup"

    def ready(self) -> None:
        """Register the system checks, and have no page that shows the settings show a password."""
        # Late: they import the middleware and its world.
        from instance_lookup import checks  # noqa: PLC0415
        from instance_lookup.conf.hiding import hide_urls  # noqa: PLC0415
        from instance_lookup.endpoints.checks import check_webhook  # noqa: PLC0415
        from instance_lookup.operations import reporter  # noqa: PLC0415
        from instance_lookup.push import stream  # noqa: PLC0415

        hide_urls()
        reporter.follow_settings()
        stream.follow_settings()

        register(checks.check_settings, Tags.compatibility)
        register(checks.check_middleware, Tags.compatibility)
        register(check_webhook, Tags.security)
        register(checks.check_deployment, Tags.security, deploy=True)
