"""A worker: a server of its own that takes jobs from clients who have a key.

The whole site in one module, settings included: ``manage.py serve --settings=studio.worker``.
``WORKER_KEYS`` in the environment replaces its keys, as JSON.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING
from uuid import uuid4

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_POST

if TYPE_CHECKING:
    from django.urls import URLPattern

# What the seeded Config Service hands out, by customer.
WORKER_KEYS: dict[str, str] = json.loads(os.environ.get("WORKER_KEYS") or "null") or {
    name: f"sandbox-key-of-{name}" for name in ("studio-a", "studio-b", "no-owner")
}

SECRET_KEY = "sandbox-worker-only"
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
INSTALLED_APPS = ["server"]
ROOT_URLCONF = "studio.worker"
SERVE_PORT = 8002
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {"django.request": {"level": "ERROR"}, "django.server": {"level": "CRITICAL"}},
}


@require_POST
def take_job(request: HttpRequest) -> JsonResponse:
    """Do ``{"task": …}`` at once, and say whose key it was."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    # All are compared, so that the time it takes tells nothing.
    customers = [name for name, own in WORKER_KEYS.items() if constant_time_compare(own, key)]
    if scheme.lower() != "bearer" or not customers:
        challenge = {"WWW-Authenticate": 'Bearer realm="worker"'}
        return JsonResponse({"error": "No such key."}, status=401, headers=challenge)
    try:
        task = dict(json.loads(request.body)).get("task")
    except (TypeError, ValueError):
        task = None
    if not isinstance(task, str):
        return JsonResponse({"error": 'Send {"task": "what to do"}.'}, status=400)
    result = f"{task}: done"
    return JsonResponse({"job_id": uuid4().hex, "customer": customers[0], "result": result})


urlpatterns: list[URLPattern] = [path("jobs", take_job)]
