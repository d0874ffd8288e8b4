"""The addresses of the site that has secrets."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from tests.behaviour.leaks import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("ops/", include("instance_lookup.urls")),
    path("page", views.page),
    path("crash", views.crash),
    path("acrash", views.acrash),
    path("call", views.call),
    path("acall", views.acall),
    path("dead", views.dead),
    path("adead", views.adead),
    path("caught", views.caught),
    path("debug", views.debug),
    path("api", views.Api.as_view()),
    path("api/crash", views.CrashingApi.as_view()),
]
