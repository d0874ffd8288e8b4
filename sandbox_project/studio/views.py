"""The pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.core.exceptions import PermissionDenied
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from rest_framework.exceptions import APIException

from instance_lookup import InstanceLookupError, Source, get_resolver
from instance_lookup.decorators import instance_required
from instance_lookup.inspection import inspect
from studio.api import standing
from studio.jobs import route_job
from studio.people import PASSWORD, PEOPLE

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

SEEDED: Final = ("studio-a", "studio-b", "no-owner")
PLACES: Final = (
    ("/instances/studio-a/", "studio-a", "owner's"),
    ("/instances/studio-b/", "studio-b", "neighbour's"),
    ("/instances/no-owner/", "no-owner", "admins only"),
    ("/projects/film-42/", "film-42", "a project in studio-a"),
    ("/instances/nowhere/", "nowhere", "unknown: 404"),
    ("/instances/not an id/", "not an id", "malformed: 400"),
)
"""Address, name and remark of what there is to try."""
NAIVE: Final = ("/naive/studio-b/", "naive", "by hand: open to all once cached")
ORIGINS: Final = {
    Source.SERVICE: "The Config Service was asked just now.",
    Source.CACHE: "From the cache; the Config Service was not asked.",
    Source.STALE_CACHE: "The Config Service gives no answer: this is the last copy it gave.",
}
REASONS: Final = {
    "HeaderIdentifier": "The request header X-Instance-ID names it.",
    "PathIdentifier": "The address of this page names it.",
    "ProjectIdentifier": "The project belongs to it.",
    "UserDefaultIdentifier": "Your profile names it as your default.",
}


def places(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001  # what Django calls it with
    """Give templates the links of the picker, and the way to the Config Service."""
    return {
        "places": (*PLACES, NAIVE) if settings.STUDIO_NAIVE else PLACES,
        "service_url": settings.INSTANCE_LOOKUP["CONFIG_SERVICE_URL"],
    }


class LogIn(LoginView):
    """Django's own, with the names of the story's people beside it."""

    template_name = "studio/log_in.html"
    redirect_authenticated_user = True
    extra_context = {"people": PEOPLE, "password": PASSWORD}  # noqa: RUF012  # Django's name, not changed


@never_cache
@login_required
@instance_required
def home(request: HttpRequest, **named: str) -> HttpResponse:
    """Show who I am, which instance I am in and why, and what it allows."""
    where = standing(request)
    context = {
        "standing": where,
        "origin": ORIGINS[where["source"]],
        "reason": REASONS[where["decided_by"]],
        "asked_at": datetime.fromtimestamp(where["cached_at"], UTC),
        # From then on not even a failing Config Service makes this copy be served.
        "purged_in": max(0.0, get_resolver().settings.stale_max_age - where["age"]),
    }
    return render(request, "studio/home.html", context)


@login_required
def pick(request: HttpRequest) -> HttpResponse:
    """Go to the instance or project that the form names."""
    kind = "project" if request.GET.get("kind") == "project" else "instance"
    name = request.GET.get("id", "").strip()
    return redirect(kind, name) if name else redirect("home")


@require_POST
@login_required
@instance_required
def send_job(request: HttpRequest, instance_id: str) -> HttpResponse:
    """Route a job, and say on the next page what became of it."""
    worker, task = request.POST.get("worker", ""), request.POST.get("task", "")
    try:
        config = request.instance_config  # type: ignore[attr-defined]  # of the middleware
        answer = route_job(config, worker, task)
    except APIException as exc:
        messages.error(request, str(exc))
    else:
        done = f"{worker} answers: {answer.get('result')} (key of {answer.get('customer')})"
        messages.success(request, done)
    return redirect("instance", instance_id)


@never_cache
@login_required
def cache_panel(request: HttpRequest) -> HttpResponse:
    """Show what the cache holds; a POST expires or invalidates an instance."""
    if not request.user.is_staff:
        raise PermissionDenied
    if request.method == "POST":
        act(request, request.POST.get("instance_id", "").strip(), request.POST.get("action", ""))
        return redirect("cache")
    resolver = get_resolver()
    more = [name for name in request.GET.getlist("id") if name]
    context = {
        "entries": list(inspect(resolver, [*SEEDED, *more])),
        "stats": resolver.get_cache_stats(),
        "alias": resolver.settings.cache_alias,
    }
    return render(request, "studio/cache.html", context)


def act(request: HttpRequest, instance_id: str, action: str) -> None:
    """Expire or invalidate an instance, and leave a message."""
    cache = get_resolver().cache
    do = {"expire": cache.expire, "invalidate": cache.invalidate}.get(action)
    if do is None:
        messages.error(request, "Choose “expire” or “invalidate”.")
        return
    try:
        do(instance_id)
    except InstanceLookupError as exc:
        messages.error(request, str(exc))
    else:
        messages.success(request, f"Done: {action} {instance_id}.")
