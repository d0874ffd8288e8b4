"""The API, and the admin that edits what it answers."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path, re_path
from django.views.generic import RedirectView

from config_service.admin import change, waiting
from config_service.views import api

urlpatterns = [
    # All paths below the three, so that unknown ones are answered in the API's format too.
    re_path(r"^(?P<path>(?:instances|projects|stream)(?:/(?s:.*))?)\Z", api),
    path("admin/api/waiting", waiting),
    path("admin/api/<str:kind>/<str:pk>", change),
    path("admin/", admin.site.urls),
    path("favicon.ico", RedirectView.as_view(url="/static/config_service/favicon.svg")),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
