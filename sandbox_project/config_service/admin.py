"""The admin: edit what the service answers, and break it on purpose; pages and an API."""

# Django calls these methods with more than they need.
# ruff: noqa: ARG001

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any, ClassVar, Final

from django.conf import settings
from django.contrib import admin
from django.contrib.auth import authenticate, login
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils.functional import SimpleLazyObject
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from config_service.models import Instance, Project, Switches, store

admin.site.site_header = admin.site.site_title = "Config Service"
admin.site.index_title = "Instances, projects and switches"
admin.site.site_url = None  # the base template links to the studio instead


class IndentedEncoder(json.JSONEncoder):
    """Write JSON so that people can read it in a form."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "indent": 2})


# ModelAdmin takes type arguments in its stubs only, not at run time.


class HelpfulAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows a help text below each field that has one, and keeps the id of a row that exists."""

    help_texts: ClassVar[dict[str, str]] = {}
    formfield_overrides: ClassVar = {models.JSONField: {"encoder": IndentedEncoder}}

    def get_form(self, *args: Any, **options: Any) -> Any:
        return super().get_form(*args, help_texts=self.help_texts, **options)

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        """Keep the id: under a new one Django would save a copy."""
        own = () if obj is None else (obj._meta.pk.name,)  # noqa: SLF001  # documented
        return (*own, *self.readonly_fields)


class ProjectInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Project
    extra = 0


@admin.register(Instance)
class InstanceAdmin(HelpfulAdmin):
    """Instances. The list shows the names of API keys, never their values."""

    list_display = ("instance_id", "name", "owner", "tenant_id", "keys", "flags", "updated_at")
    list_filter = (("owner", admin.EmptyFieldListFilter), "tenant_id", "updated_at")
    search_fields = ("instance_id", "name", "description", "owner", "tenant_id")
    readonly_fields = ("created_at", "updated_at")
    inlines = (ProjectInline,)
    fieldsets = (
        (None, {"fields": ("instance_id", "name", "description")}),
        ("Whose it is", {"fields": ("owner", "tenant_id", "refused_users")}),
        (
            "Configuration",
            {"fields": ("api_keys", "rate_limits", "worker_urls", "r2_bucket", "features")},
        ),
        ("Dates", {"fields": ("created_at", "updated_at")}),
    )
    help_texts: ClassVar = {
        "instance_id": "Cannot be changed later: another id is another instance.",
        "owner": "User id of the owner. Empty: admins only.",
        "refused_users": 'User ids (X-User-ID) answered with 403, such as ["7"].',
        "api_keys": 'Such as {"render": "secret"}.',
        "rate_limits": 'Such as {"render": {"rpm": 60, "rpm_burst": 10}}.',
        "worker_urls": 'Such as {"render": "https://worker.example/jobs"}.',
        "features": 'Such as {"beta": true}.',
    }

    @admin.display(description="API keys")
    def keys(self, instance: Instance) -> str:
        return ", ".join(f"{name}: ••••" for name in sorted(instance.api_keys))

    @admin.display(description="features on")
    def flags(self, instance: Instance) -> str:
        return ", ".join(sorted(name for name, on in instance.features.items() if on))


@admin.register(Project)
class ProjectAdmin(HelpfulAdmin):
    list_display = ("project_id", "instance")
    list_filter = ("instance",)
    search_fields = ("project_id", "instance__instance_id", "instance__name")
    autocomplete_fields = ("instance",)


@admin.register(Switches)
class SwitchesAdmin(HelpfulAdmin):
    """One form, no list."""

    fieldsets = (
        ("Down", {"fields": ("down", "retry_after")}),
        ("Slow", {"fields": ("slow",)}),
        ("Errors", {"fields": ("errors", "errors_status")}),
    )
    help_texts: ClassVar = {
        "down": "Answer 503 to every API request.",
        "retry_after": "Seconds, sent as Retry-After with a 429 or 503.",
        "slow": "Wait this many seconds before each answer.",
        "errors": "Percentage of API requests answered with the status below.",
    }

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        Switches.objects.get_or_create(pk=Switches.ONLY_ID)
        return redirect("admin:config_service_switches_change", Switches.ONLY_ID)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Switches | None = None) -> bool:
        return False


def switches(request: HttpRequest) -> dict[str, Any]:
    """Give templates what every admin page shows: the switches, and the way to the studio."""
    return {"switches": SimpleLazyObject(Switches.load), "studio_url": settings.STUDIO_URL}


MODELS: Final[dict[str, Any]] = {"instance": Instance, "project": Project, "switches": Switches}
CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="config-service"'}


@csrf_exempt  # no other site can have a browser send PATCH or DELETE
@require_http_methods(["PATCH", "DELETE"])
def change(request: HttpRequest, kind: str, pk: str) -> HttpResponse:
    """PATCH: set the named fields of a row, which is made if it is missing. DELETE: remove it.

    The superuser's name and password come by HTTP Basic, then the cookie of the session will do.
    A 400 says by field what is wrong.
    """
    if not is_superuser(request):
        return HttpResponse(status=401, headers=CHALLENGE)
    if kind not in MODELS:
        return HttpResponse(status=404)
    if request.method == "DELETE":
        MODELS[kind].objects.filter(pk=pk).delete()
        return HttpResponse(status=204)
    try:
        store(MODELS[kind], pk, dict(json.loads(request.body)))
    except ValidationError as exc:
        readable = {"ensure_ascii": False}
        return JsonResponse(exc.message_dict, status=400, json_dumps_params=readable)
    except (TypeError, ValueError):  # no JSON object
        return HttpResponse(status=400)
    return HttpResponse(status=204)


def is_superuser(request: HttpRequest) -> bool:
    """Tell whether a superuser asks, and log in one who sends the password: hashing is slow."""
    if request.user.is_superuser:
        return True
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    try:
        username, _, password = b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return False
    user = authenticate(username=username, password=password) if scheme == "Basic" else None
    if user is None or not user.is_superuser:
        return False
    login(request, user)
    return True
