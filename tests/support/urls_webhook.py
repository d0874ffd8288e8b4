"""A site with a view that looks up, and the webhook."""

from __future__ import annotations

from django.urls import include, path

from tests.support import views

urlpatterns = [
    path("plain", views.plain),
    path("ops/", include("instance_lookup.urls")),
]
