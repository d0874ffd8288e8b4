"""The app's name for Django."""

from __future__ import annotations

from django.apps import AppConfig


class StudioAppConfig(AppConfig):
    """People, and which instance each works in when a request names none."""

    name = "studio"
    verbose_name = "Studio"
