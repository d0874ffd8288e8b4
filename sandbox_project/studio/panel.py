"""The cache panel: what the cache holds, and the two ways to have the service asked again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from instance_lookup import InstanceLookupError, get_resolver
from instance_lookup.inspection import inspect

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

SEEDED: Final = ("studio-a", "studio-b", "no-owner")


@never_cache
@login_required
def cache_panel(request: HttpRequest) -> HttpResponse:
    """Show the entries; a POST expires or invalidates one."""
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
    try:
        if action == "expire":
            cache.expire(instance_id)
            messages.success(request, f"{instance_id} is stale now: the service is asked first.")
        elif action == "invalidate":
            cache.invalidate(instance_id)
            messages.success(request, f"{instance_id} is not served from the cache again.")
        else:
            messages.error(request, "Choose “expire” or “invalidate”.")
    except InstanceLookupError as exc:
        messages.error(request, str(exc))
