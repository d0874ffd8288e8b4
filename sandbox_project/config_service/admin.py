"""The admin: edit what the service answers, and break it on purpose."""

# Django calls these methods with more than they need.
# ruff: noqa: ARG001

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.contrib import admin
from django.db import models
from django.shortcuts import redirect
from django.utils.functional import SimpleLazyObject

from config_service.models import Instance, Project, Switches

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

admin.site.site_header = "Config Service"
admin.site.site_title = "Config Service"
admin.site.index_title = "Instances, projects and switches"
admin.site.site_url = None  # the base template links to the studio instead


class IndentedEncoder(json.JSONEncoder):
    """Write JSON so that people can read it in a form."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "indent": 2})


# The admin's classes take type arguments in their stubs only, not at run time.


class ProjectInline(admin.TabularInline):  # type: ignore[type-arg]
    """The projects of an instance."""

    model = Project
    extra = 0


@admin.register(Instance)
class InstanceAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Instances. The list shows the names of API keys, never their values."""

    list_display = ("instance_id", "name", "owner", "tenant_id", "keys", "flags", "updated_at")
    list_filter = (("owner", admin.EmptyFieldListFilter), "tenant_id", "updated_at")
    search_fields = ("instance_id", "name", "description", "owner", "tenant_id")
    readonly_fields = ("created_at", "updated_at")
    inlines = (ProjectInline,)
    formfield_overrides: ClassVar = {models.JSONField: {"encoder": IndentedEncoder}}
    fieldsets = (
        (None, {"fields": ("instance_id", "name", "description")}),
        ("Whose it is", {"fields": ("owner", "tenant_id", "refused_users")}),
        (
            "Configuration",
            {"fields": ("api_keys", "rate_limits", "worker_urls", "r2_bucket", "features")},
        ),
        ("Dates", {"fields": ("created_at", "updated_at")}),
    )

    @admin.display(description="API keys")
    def keys(self, instance: Instance) -> str:
        """Show which keys there are."""
        return ", ".join(f"{name}: ••••" for name in sorted(instance.api_keys))

    @admin.display(description="features on")
    def flags(self, instance: Instance) -> str:
        """Show which features are on."""
        return ", ".join(sorted(name for name, on in instance.features.items() if on))

    def get_readonly_fields(
        self, request: HttpRequest, obj: Instance | None = None
    ) -> tuple[str, ...]:
        """Keep the id of an instance that exists: Django would save a copy under the new one."""
        return self.readonly_fields if obj is None else ("instance_id", *self.readonly_fields)


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Projects and the instance each belongs to."""

    list_display = ("project_id", "instance")
    list_filter = ("instance",)
    search_fields = ("project_id", "instance__instance_id", "instance__name")
    autocomplete_fields = ("instance",)

    def get_readonly_fields(
        self, request: HttpRequest, obj: Project | None = None
    ) -> tuple[str, ...]:
        """Keep the id of a project that exists."""
        return () if obj is None else ("project_id",)


@admin.register(Switches)
class SwitchesAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """One form, no list."""

    fieldsets = (
        ("Down", {"fields": ("down", "retry_after")}),
        ("Slow", {"fields": ("slow",)}),
        ("Errors", {"fields": ("errors", "errors_status")}),
    )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Go to the one row."""
        Switches.objects.get_or_create(pk=Switches.ONLY_ID)
        return redirect("admin:config_service_switches_change", Switches.ONLY_ID)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Allow no second row."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Switches | None = None) -> bool:
        """Keep the row."""
        return False


def switches(request: HttpRequest) -> dict[str, Any]:
    """Give templates what every admin page shows: the switches, and the way to the studio."""
    return {
        "switches": SimpleLazyObject(Switches.load),
        "studio_url": getattr(settings, "STUDIO_URL", ""),
    }
