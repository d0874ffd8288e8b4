"""What every page has: the frame of the admin, our templates, and where a form leads back to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote
from django.template.response import TemplateResponse
from django.urls import reverse

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.http import HttpRequest


def render(
    model_admin: ModelAdmin[Any],
    request: HttpRequest,
    page: str,
    title: str,
    context: dict[str, Any],
) -> TemplateResponse:
    """Return a page.

    ``model_admin`` are the pages of the admin site that ``request`` came to. ``page`` is the name
    of one of our templates, ``title`` the heading, ``context`` what the template shows beside what
    is the same everywhere.
    """
    site = model_admin.admin_site
    request.current_app = site.name  # as Django's pages do
    everywhere = {
        **site.each_context(request),
        "opts": model_admin.opts,
        "title": title,
        "may_change": model_admin.has_change_permission(request),
    }
    return TemplateResponse(
        request, f"instance_lookup_admin/{page}.html", {**everywhere, **context}
    )


def back_url(model_admin: ModelAdmin[Any], request: HttpRequest) -> str:
    """Return where the form came from: the page of an instance, or the list as it was.

    ``model_admin`` are the pages of the admin site that ``request`` came to.
    """
    name = f"admin:{model_admin.opts.app_label}_{model_admin.opts.model_name}"
    site = model_admin.admin_site.name
    if instance_id := request.POST.get("detail"):
        return reverse(f"{name}_change", args=[quote(instance_id)], current_app=site)
    query = request.POST.get("back")
    return reverse(f"{name}_changelist", current_app=site) + (f"?{query}" if query else "")
