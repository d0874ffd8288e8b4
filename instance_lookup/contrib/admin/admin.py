"""The pages: a list, the details of an instance, and forms that ask before anything is done."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpResponseNotAllowed
from django.urls import path

from instance_lookup import get_resolver
from instance_lookup.contrib.admin import forms
from instance_lookup.contrib.admin.details import detail_context
from instance_lookup.contrib.admin.listing import list_context
from instance_lookup.contrib.admin.models import Instance
from instance_lookup.contrib.admin.pages import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from instance_lookup.resolver import InstanceResolver

    Answer = Callable[[admin.ModelAdmin[Any], InstanceResolver, HttpRequest], HttpResponse]
    Base = admin.ModelAdmin[Instance]
else:
    Base = admin.ModelAdmin  # it takes no type at run time


@admin.register(Instance)
class InstanceAdmin(Base):
    """The pages of instances. They have no table, so that Django's own do not fit."""

    def get_urls(self) -> list[URLPattern]:
        """Return our pages, under the names that the admin's index and log link to."""
        view = self.admin_site.admin_view
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path("", view(self.changelist_view), name=f"{name}_changelist"),
            path("act/", view(self.act_view), name=f"{name}_act"),
            path("purge-all/", view(self.purge_all_view), name=f"{name}_purge_all"),
            path("<path:object_id>/change/", view(self.change_view), name=f"{name}_change"),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say no: instances are added at the Config Service."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Say no: instances are deleted at the Config Service."""
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a page of instances; ``extra_context`` is Django's, and is added to the page's."""
        self._check(request)

        def show(resolver: InstanceResolver) -> HttpResponse:
            context = list_context(resolver, request)
            return render(self, request, "list", "Instances", {**context, **(extra_context or {})})

        return self._with_resolver(request, show)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one instance.

        ``object_id`` is its id as the admin quotes it. ``form_url`` and ``extra_context`` are
        Django's; the latter is added to the page's context.
        """
        self._check(request)
        instance_id = unquote(object_id)

        def show(resolver: InstanceResolver) -> HttpResponse:
            context = detail_context(resolver, instance_id, request.GET.get("user", ""))
            return render(
                self, request, "detail", instance_id, {**context, **(extra_context or {})}
            )

        return self._with_resolver(request, show)

    def act_view(self, request: HttpRequest) -> HttpResponse:
        """Ask whether to do something to instances, and then do it."""
        return self._post(request, forms.act)

    def purge_all_view(self, request: HttpRequest) -> HttpResponse:
        """Ask whether to purge everything, and then do it."""
        return self._post(request, forms.purge_all)

    def _check(self, request: HttpRequest) -> None:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied

    def _post(self, request: HttpRequest, answer: Answer) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_change_permission(request):
            raise PermissionDenied
        return self._with_resolver(request, lambda resolver: answer(self, resolver, request))

    def _with_resolver(
        self, request: HttpRequest, answer: Callable[[InstanceResolver], HttpResponse]
    ) -> HttpResponse:
        """Return what ``answer`` makes with the resolver; if the settings are wrong, say so."""
        try:
            resolver = get_resolver()
        except ImproperlyConfigured as exc:
            response = render(self, request, "unconfigured", "Instances", {"problem": str(exc)})
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
            return response
        return answer(resolver)
