"""The admin: people and their default instances."""

from __future__ import annotations

from django.contrib import admin

from studio.models import Profile

admin.site.site_header = "Studio"
admin.site.site_title = "Studio"


@admin.register(Profile)
class ProfileAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # takes it in the stubs only
    """Profiles."""

    list_display = ("user", "default_instance_id")
    list_editable = ("default_instance_id",)
