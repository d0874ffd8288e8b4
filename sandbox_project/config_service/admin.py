"""The admin: edit what the service answers, and break it on purpose; pages and an API."""

# Django calls these methods with more than they need.
# ruff: noqa: ARG001

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.contrib import admin
from django.contrib.auth import authenticate, login
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from config_service.models import Delivery, Instance, Project, Receiver, Switches, store
from config_service.outbox import WAITING, bell

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet

admin.site.site_header = admin.site.site_title = "Config Service"
admin.site.index_title = "Instances, projects and switches"
admin.site.site_url = None  # the base template links to the studio instead

MODELS: Final[dict[str, Any]] = {"instance": Instance, "project": Project, "switches": Switches}

# --- pages; ModelAdmin takes type arguments in its stubs only, not at run time --------------------


class RowAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep the id of a row that exists: under a new one Django would save a copy."""
        own = () if obj is None else (obj._meta.pk.name,)  # noqa: SLF001  # documented
        return (*own, *self.readonly_fields)


@admin.register(Instance)
class InstanceAdmin(RowAdmin):
    """Instances. The list shows the names of API keys, never their values."""

    list_display = ("instance_id", "name", "owner", "tenant_id", "keys", "updated_at")
    search_fields = ("instance_id", "name", "description", "owner", "tenant_id")
    readonly_fields = ("created_at", "updated_at")

    @admin.display(description="API keys")
    def keys(self, instance: Instance) -> str:
        return ", ".join(f"{name}: ••••" for name in sorted(instance.api_keys))


@admin.register(Project)
class ProjectAdmin(RowAdmin):
    list_display = ("project_id", "instance")


@admin.register(Switches)
class SwitchesAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The switches: there is one row, so one form and no list."""

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        Switches.objects.get_or_create(pk=Switches.ONLY_ID)
        return redirect("admin:config_service_switches_change", Switches.ONLY_ID)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Switches | None = None) -> bool:
        return False


@admin.register(Delivery)
class DeliveryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What sites were told, or still have to be: to look at, and to try again at once."""

    list_display = ("change", "to", "state", "attempts", "last_error", "due", "delivered_at")
    list_filter = ("delivered_at", "given_up_at")
    list_select_related = ("change", "receiver")
    search_fields = ("change__subject_id", "change__webhook_id")
    actions = ("try_again",)

    @admin.display(description="receiver")
    def to(self, delivery: Delivery) -> str:
        return str(delivery.receiver)  # without its password

    @admin.display
    def state(self, delivery: Delivery) -> str:
        if delivery.delivered_at:
            return "delivered"
        return "given up" if delivery.given_up_at else "waiting"

    @admin.display(description="next try", ordering="next_try")
    def due(self, delivery: Delivery) -> datetime | None:
        if delivery.delivered_at or delivery.given_up_at:
            return None
        return max(delivery.next_try, delivery.receiver.paused_until or delivery.next_try)

    @admin.action(description="Try again at once what was not delivered", permissions=["view"])
    def try_again(self, request: HttpRequest, chosen: QuerySet[Delivery]) -> None:
        chosen = chosen.filter(delivered_at=None)
        Receiver.objects.filter(delivery__in=chosen).update(paused_until=None)
        chosen.update(next_try=timezone.now(), given_up_at=None)
        bell.ring()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Delivery | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Delivery | None = None) -> bool:
        return False


def switches(request: HttpRequest) -> dict[str, Any]:
    """Give templates what every admin page shows: the switches, and the way to the studio."""
    return {"switches": SimpleLazyObject(Switches.load), "studio_url": settings.STUDIO_URL}


# --- API ------------------------------------------------------------------------------------------


@csrf_exempt  # no other site can have a browser send PATCH or DELETE
@require_http_methods(["PATCH", "DELETE"])
def change(request: HttpRequest, kind: str, pk: str) -> HttpResponse:
    """PATCH: set the named fields of a row, which is made if it is missing. DELETE: remove it.

    The superuser's name and password come by HTTP Basic, then the cookie of the session will do.
    A 400 says by field what is wrong.
    """
    if not is_superuser(request):
        return unauthorized()
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


@require_safe
def waiting(request: HttpRequest) -> HttpResponse:
    """Answer how many changes are yet to be delivered: programs wait until there are none."""
    if not is_superuser(request):
        return unauthorized()
    return JsonResponse({"waiting": Delivery.objects.filter(WAITING).count()})


def unauthorized() -> HttpResponse:
    challenge = {"WWW-Authenticate": 'Basic realm="config-service"'}
    return HttpResponse(status=401, headers=challenge)


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
