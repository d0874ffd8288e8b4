"""URLs for operators and the Config Service.

``path("instance-lookup/", include("instance_lookup.urls"))`` serves them.
"""

from __future__ import annotations

from django.urls import path

from instance_lookup.endpoints.health import health
from instance_lookup.endpoints.webhook import webhook

app_name = "instance_lookup"
urlpatterns = [
    path("health/", health, name="health"),
    path("webhook/", webhook, name="webhook"),
]
