"""Settings of the reference Config Service. It listens on loopback only.

Environment: ``SANDBOX_DATA_DIR`` (folder of the SQLite file), ``CONFIG_SERVICE_TOKEN`` (the bearer
token that clients send), ``CONFIG_SERVICE_SECRET_KEY``, ``STUDIO_URL`` (the site to link to).
"""

from __future__ import annotations

import os
from pathlib import Path

DATA_DIR = Path(os.environ.get("SANDBOX_DATA_DIR") or Path(__file__).parents[1] / ".data")
DATA_DIR.mkdir(parents=True, exist_ok=True)

# An empty variable must not open the service to everybody, so it counts as unset.
CONFIG_SERVICE_TOKEN = os.environ.get("CONFIG_SERVICE_TOKEN") or "sandbox-token"
STUDIO_URL = os.environ.get("STUDIO_URL") or "http://127.0.0.1:8000"
SECRET_KEY = os.environ.get("CONFIG_SERVICE_SECRET_KEY") or "sandbox-config-service-only"

# Off even here: the technical error page would print API keys.
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]

INSTALLED_APPS = [
    "config_service",  # before the admin, whose base template it extends
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
    "config_service.middleware.ApiMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
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
        # Readers do not wait for a writer (WAL), and writers queue instead of failing.
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            "transaction_mode": "IMMEDIATE",
            "timeout": 5,
        },
    }
}

ROOT_URLCONF = "config_service.urls"
WSGI_APPLICATION = "config_service.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "UTC"

# No weaker than Django's default, and much faster: a sandbox should start at once.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher"]

# Cookies do not know ports: under the usual names, a log-in here would end the one at the studio.
SESSION_COOKIE_NAME = "config_service_sessionid"
CSRF_COOKIE_NAME = "config_service_csrftoken"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"tracebacks": {"()": "config_service.logs.only_tracebacks"}},
    "formatters": {"line": {"format": "{asctime} {levelname} {message}", "style": "{"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
        "tracebacks": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["tracebacks"],
        },
    },
    "loggers": {
        "config_service": {"handlers": ["stderr"], "level": "INFO"},
        # The middleware logs each request, with its id; Django's line a status would say it twice.
        "django.request": {"handlers": ["tracebacks"], "propagate": False},
        "django.server": {"level": "CRITICAL"},
    },
}
