"""Settings of the reference Config Service, and what it is seeded with.

Each of the environment's variables is described in docs/config-service.md.
"""

from __future__ import annotations

from os import environ

from server.settings import *  # noqa: F403
from server.settings import INSTALLED_APPS, LOGGING, MIDDLEWARE, databases, templates

# An empty variable must not open the service to all, so it counts as unset.
CONFIG_SERVICE_TOKEN = environ.get("CONFIG_SERVICE_TOKEN") or "sandbox-token"
SECRET_KEY = environ.get("CONFIG_SERVICE_SECRET_KEY") or "sandbox-config-service-only"
STUDIO_URL = environ.get("STUDIO_URL") or "http://127.0.0.1:8000"

# What the studio knows and this service does not.
SEED_OWNER = environ.get("SANDBOX_OWNER_ID") or "2"
SEED_OTHER_OWNER = environ.get("SANDBOX_OTHER_OWNER_ID") or "3"
SEED_WORKER_URL = environ.get("SANDBOX_WORKER_URL") or "http://127.0.0.1:8002/jobs"
SEED_ADMIN_NAME = environ.get("CONFIG_SERVICE_ADMIN_NAME") or "admin"
SEED_ADMIN_PASSWORD = environ.get("CONFIG_SERVICE_ADMIN_PASSWORD") or "sandbox"

SERVE_PORT = 8001
SERVE_SEED = "config_service.seed.plant"

INSTALLED_APPS = ["config_service", *INSTALLED_APPS]  # before the admin, whose template it extends
# Within Django's CommonMiddleware, which gives every answer its length.
MIDDLEWARE = [*MIDDLEWARE[:2], "config_service.middleware.ApiMiddleware", *MIDDLEWARE[2:]]
TEMPLATES = templates("config_service.admin.switches")
DATABASES = databases("config_service")
ROOT_URLCONF = "config_service.urls"

# Cookies do not know ports: under the usual names, a log-in here would end the one at the studio.
SESSION_COOKIE_NAME = "config_service_sessionid"
CSRF_COOKIE_NAME = "config_service_csrftoken"

LOGGING["filters"] = {
    "tracebacks": {
        "()": "django.utils.log.CallbackFilter",
        "callback": lambda record: record.exc_info is not None,
    }
}
LOGGING["loggers"] = {
    "config_service": {"level": "INFO"},
    # The middleware logs each request, with its id; Django's line a status would say it twice.
    "django.request": {"filters": ["tracebacks"]},
    "django.server": {"level": "CRITICAL"},
}
