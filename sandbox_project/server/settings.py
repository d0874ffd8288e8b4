"""Settings that the sandbox's sites share. They listen on loopback only.

Environment: ``SANDBOX_DATA_DIR`` (folder of the SQLite files).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

DATA_DIR = Path(os.environ.get("SANDBOX_DATA_DIR") or Path(__file__).parents[1] / ".data")

# Off even here: the technical error page would print API keys.
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
INSTALLED_APPS = [
    "server",
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
]
# No weaker than Django's default, and much faster: a sandbox should start at once.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
TIME_ZONE = "UTC"
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}


def databases(name: str) -> dict[str, dict[str, Any]]:
    """Return ``DATABASES``: a file of SQLite in ``DATA_DIR``."""
    # Readers do not wait for a writer (WAL), and writers queue instead of failing.
    wal = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
    options = {"init_command": wal, "transaction_mode": "IMMEDIATE"}
    path = DATA_DIR / f"{name}.sqlite3"
    return {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": path, "OPTIONS": options}}


def templates(*context_processors: str, **options: Any) -> list[dict[str, Any]]:
    """Return ``TEMPLATES`` with the admin's context processors and some of the site's own."""
    needed = (
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    )
    options["context_processors"] = [*needed, *context_processors]
    engine = "django.template.backends.django.DjangoTemplates"
    return [{"BACKEND": engine, "APP_DIRS": True, "OPTIONS": options}]
