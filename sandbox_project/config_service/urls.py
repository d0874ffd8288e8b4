"""The API, and the admin that edits what it answers."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from config_service import views
from config_service.admin import change

urlpatterns = [
    path("instances", views.instance_list),
    path("instances/<str:instance_id>", views.instance_detail),
    path("projects/<str:project_id>", views.project_detail),
    path("admin/api/<str:kind>/<str:pk>", change),
    path("admin/", admin.site.urls),
    path("favicon.ico", RedirectView.as_view(url="/static/config_service/favicon.svg")),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]
