"""The app's name for Django."""

from __future__ import annotations

from django.apps import AppConfig


class ConfigServiceAppConfig(AppConfig):
    name = "config_service"
    verbose_name = "Config Service"
