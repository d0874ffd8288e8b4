"""The Django app of the admin pages."""

from __future__ import annotations

from django.apps import AppConfig


class InstanceLookupAdminConfig(AppConfig):
    """Has a label of its own: ``admin`` is Django's."""

    name = "instance_lookup.contrib.admin"
    label = "instance_lookup_admin"
    verbose_name = "Instance lookup"
    default_auto_field = "django.db.models.BigAutoField"
