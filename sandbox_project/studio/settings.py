"""Settings of the studio. It listens on loopback only.

Environment: ``CONFIG_SERVICE_URL`` and ``STUDIO_SERVICE_TOKEN`` (the Config Service and the bearer
token for it), ``REDIS_URL`` (else the caches are in this process), ``SANDBOX_DATA_DIR`` (folder of
the SQLite file), ``STUDIO_CACHE_PREFIX``, ``STUDIO_SECRET_KEY``, ``STUDIO_NAIVE``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from studio.caches import local_caches, redis_caches

DATA_DIR = Path(os.environ.get("SANDBOX_DATA_DIR") or Path(__file__).parents[1] / ".data")

INSTANCE_LOOKUP: dict[str, Any] = {
    "CONFIG_SERVICE_URL": os.environ.get("CONFIG_SERVICE_URL") or "http://127.0.0.1:8001",
    "CONFIG_SERVICE_TOKEN": os.environ.get("STUDIO_SERVICE_TOKEN") or "sandbox-token",
    "CACHE_ALIAS": "instances",
    # Whoever plays stops and starts the service by hand, and wants to see at once that it is back.
    "RETRY_INTERVAL": 0.1,
    "BREAKER_RESET": 0.1,
    "IDENTIFIERS": [
        "instance_lookup.identifiers.HeaderIdentifier",
        # The pages at /instances/<instance_id>/, for browsers: a link cannot send a header.
        "instance_lookup.identifiers.PathIdentifier",
        "instance_lookup.identifiers.ProjectIdentifier",
        "instance_lookup.identifiers.UserDefaultIdentifier",
    ],
}

REDIS_URL = os.environ.get("REDIS_URL") or ""
CACHE_PREFIX = os.environ.get("STUDIO_CACHE_PREFIX") or "studio"
CACHES = redis_caches(REDIS_URL, CACHE_PREFIX) if REDIS_URL else local_caches()

SECRET_KEY = os.environ.get("STUDIO_SECRET_KEY") or "sandbox-studio-only"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]

# The hand-written lookup at /naive/ lets strangers in, which is its point: on in the demo only.
STUDIO_NAIVE = os.environ.get("STUDIO_NAIVE") == "1"

INSTALLED_APPS = [
    "studio",
    "instance_lookup",
    "rest_framework",
    "rest_framework.authtoken",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "studio.errors.UnavailablePageMiddleware",
    "instance_lookup.middleware.InstanceConfigMiddleware",
]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        # First, since the first one's challenge is what makes an anonymous request a 401.
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["instance_lookup.permissions.IsInstanceOwnerOrAdmin"],
    "EXCEPTION_HANDLER": "instance_lookup.permissions.exception_handler",
}

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "instance_lookup.context_processors.instance",
                "studio.context.places",
            ]
        },
    }
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "studio.sqlite3",
        # Readers do not wait for a writer (WAL), and writers queue instead of failing.
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            "transaction_mode": "IMMEDIATE",
            "timeout": 5,
        },
    }
}

ROOT_URLCONF = "studio.urls"
WSGI_APPLICATION = "studio.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "UTC"

LOGIN_URL = "log-in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "log-in"

# No weaker than Django's default, and much faster: a sandbox should start at once.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher"]

# Cookies do not know ports: under the usual names, a log-in here would end one at a neighbour.
SESSION_COOKIE_NAME = "studio_sessionid"
CSRF_COOKIE_NAME = "studio_csrftoken"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "instance_lookup": {"level": "INFO"},
        # A 4xx is an answer, not an event.
        "django.request": {"level": "ERROR"},
        "django.server": {"level": "CRITICAL"},
    },
}
