"""Take a job from whoever has a key, and say whose key it was."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_POST


@require_POST
def take_job(request: HttpRequest) -> JsonResponse:
    """Do ``{"task": …}`` at once."""
    customer = customer_of(request.headers.get("Authorization", ""))
    if customer is None:
        challenge = {"WWW-Authenticate": 'Bearer realm="worker"'}
        return JsonResponse({"error": "No such key."}, status=401, headers=challenge)
    task = task_of(request.body)
    if task is None:
        return JsonResponse({"error": 'Send {"task": "what to do"}.'}, status=400)
    return JsonResponse({"job_id": uuid4().hex, "customer": customer, "result": f"{task}: done"})


def customer_of(authorization: str) -> str | None:
    """Return whose key the ``Authorization`` header holds."""
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return None
    keys: dict[str, str] = getattr(settings, "WORKER_KEYS", {})
    # All are compared, so that the time it takes tells nothing.
    found = [name for name, own in keys.items() if constant_time_compare(own, key)]
    return found[0] if found else None


def task_of(body: bytes) -> str | None:
    """Return the task that a body asks for."""
    try:
        job: Any = json.loads(body)
    except ValueError:
        return None
    task = job.get("task") if isinstance(job, dict) else None
    return task if isinstance(task, str) else None
