"""The app's name for Django."""

from __future__ import annotations

from django.apps import AppConfig


class ConfigServiceAppConfig(AppConfig):
    name = "config_service"
    verbose_name = "Config Service"

    def ready(self) -> None:
        """Have changes noted."""
        import config_service.announcing  # noqa: F401, PLC0415  # models are there from now on
