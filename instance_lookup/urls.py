"""URLs for operators: ``path("instances/", include("instance_lookup.urls"))``."""

from __future__ import annotations

from django.urls import path

from instance_lookup.endpoints.health import health

app_name = "instance_lookup"
urlpatterns = [path("health/", health, name="health")]
