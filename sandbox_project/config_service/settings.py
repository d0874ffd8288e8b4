"""Settings of the reference Config Service: docs/reference/config-service.md has the variables."""

from __future__ import annotations

import json
from base64 import b64decode
from itertools import chain
from os import environ
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def webhooks(text: str) -> dict[str, list[str]]:
    """Read ``{"https://site.example/…/webhook/": ["whsec_…"]}``: who is told, signed by what."""
    try:
        found = {str(url): list(secrets) for url, secrets in json.loads(text).items()}
        given = [secret.removeprefix("whsec_") for secret in chain(*found.values())]
        is_whole = all(found.values()) and all(b64decode(each, validate=True) for each in given)
    except (AttributeError, TypeError, ValueError):
        is_whole = False
    if not is_whole:
        # The value holds secrets.
        raise ImproperlyConfigured(
            'CONFIG_SERVICE_WEBHOOKS is not as it should be: {"url": ["whsec_" + base64, …], …}.'
        )
    return found


DATA_DIR = Path(environ.get("SANDBOX_DATA_DIR") or Path(__file__).parents[1] / ".data")
# An empty variable must not open the service to all, so it counts as unset.
CONFIG_SERVICE_TOKEN = environ.get("CONFIG_SERVICE_TOKEN") or "sandbox-token"
SECRET_KEY = environ.get("CONFIG_SERVICE_SECRET_KEY") or "sandbox-config-service-only"
STUDIO_URL = environ.get("STUDIO_URL") or "http://127.0.0.1:8000"
SERVE_PORT = 8001
# The studio, with the secret that it expects if it was not told another one.
WEBHOOK_SECRET = "whsec_c2FuZGJveC13ZWJob29rLXNlY3JldC1vbmx5LTAwMDE="
WEBHOOKS = webhooks(
    environ.get("CONFIG_SERVICE_WEBHOOKS")
    or json.dumps({f"{STUDIO_URL}/instance-lookup/webhook/": [WEBHOOK_SECRET]})
)
WEBHOOK_TIMEOUT = float(environ.get("CONFIG_SERVICE_WEBHOOK_TIMEOUT") or 5)
STREAM_HEARTBEAT = float(environ.get("CONFIG_SERVICE_HEARTBEAT") or 15)

# Off even here: the technical error page would print API keys.
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
INSTALLED_APPS = [
    "config_service",  # before the admin, whose template it extends
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config_service.admin.switches",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "config_service.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",  # writers queue instead of failing
            # Senders and listeners look all the time, and must not keep a writer waiting.
            "init_command": "PRAGMA journal_mode=WAL",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# No weaker than Django's default, and much faster: a sandbox should start at once.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher"]
ROOT_URLCONF = "config_service.urls"
STATIC_URL = "static/"
TIME_ZONE = "UTC"
# Cookies do not know ports: under the usual names, a log-in here would end the one at the studio.
SESSION_COOKIE_NAME = "config_service_sessionid"
CSRF_COOKIE_NAME = "config_service_csrftoken"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "config_service": {"level": "INFO"},
        # The API logs each request itself, with its id.
        "django.request": {"level": "ERROR"},
        "django.server": {"level": "CRITICAL"},
    },
}
