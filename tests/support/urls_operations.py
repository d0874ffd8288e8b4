"""A site with the addresses for operators."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("ops/", include("instance_lookup.urls"))]
