"""A plain Django site that uses the app; tests override what they are about."""

from __future__ import annotations

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

SECRET_KEY = "only for tests, and long enough for the checks of Django and of JWT"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.support.urls"
STATIC_URL = "static/"
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.admin",
    "django.contrib.staticfiles",
    # Optional, like DRF itself: the environment `bare` has none.
    *(["rest_framework"] if find_spec("rest_framework") else []),
    "instance_lookup",
    "instance_lookup.contrib.admin",
]

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "instance_lookup.middleware.InstanceConfigMiddleware",
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
            ],
        },
    },
]

# A file, since threads do not share an in-memory database without locking each other out, and one
# per process, so that two runs at the same time do not meet.
TEST_DATABASE = Path(tempfile.gettempdir()) / f"instance-lookup-{os.getpid()}.sqlite3"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ":memory:",
        "OPTIONS": {
            # A transaction waits for another at its start, where SQLite can wait.
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;",
            "timeout": 20,
        },
        "TEST": {"NAME": TEST_DATABASE},
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "tests-default",
    },
}

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Port 9 (discard) refuses at once: a test that means to ask a service names its own.
# No near cache: most tests are about the shared cache, and look straight into it.
INSTANCE_LOOKUP = {"CONFIG_SERVICE_URL": "http://127.0.0.1:9/", "NEAR_CACHE_SIZE": 0}
