"""Settings of the worker. ``WORKER_KEYS`` in the environment replaces its keys, as JSON."""

from __future__ import annotations

import json
import os
from typing import Any

# What the seeded Config Service hands out, by customer.
WORKER_KEYS: dict[str, str] = json.loads(os.environ.get("WORKER_KEYS") or "null") or {
    name: f"sandbox-key-of-{name}" for name in ("studio-a", "studio-b", "no-owner")
}

SECRET_KEY = "sandbox-worker-only"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
INSTALLED_APPS = ["studio.worker"]
MIDDLEWARE: list[str] = []
DATABASES: dict[str, Any] = {}
ROOT_URLCONF = "studio.worker.urls"
USE_TZ = True
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {"django.request": {"level": "ERROR"}, "django.server": {"level": "CRITICAL"}},
}
