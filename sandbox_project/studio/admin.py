"""The admin: people and their default instances."""

from __future__ import annotations

from django.contrib import admin

from studio.models import Profile

FIELD = "default_instance_id"

admin.site.site_header = admin.site.site_title = "Studio"
admin.site.register(Profile, list_display=("user", FIELD), list_editable=(FIELD,))
