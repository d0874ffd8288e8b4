"""Settings of the studio.

Environment: ``CONFIG_SERVICE_URL`` and ``STUDIO_SERVICE_TOKEN`` (the Config Service and the bearer
token for it), ``STUDIO_WEBHOOK_SECRET`` and ``STUDIO_STREAM`` (how it is told of changes),
``REDIS_URL`` (else the caches are in this process), ``STUDIO_CACHE_PREFIX``, ``STUDIO_SECRET_KEY``,
``STUDIO_NAIVE``, ``SANDBOX_DATA_DIR`` (folder of the SQLite file).
"""

from __future__ import annotations

from os import environ
from pathlib import Path
from typing import Any

INSTANCE_LOOKUP: dict[str, Any] = {
    "CONFIG_SERVICE_URL": environ.get("CONFIG_SERVICE_URL") or "http://127.0.0.1:8001",
    "CONFIG_SERVICE_TOKEN": environ.get("STUDIO_SERVICE_TOKEN") or "sandbox-token",
    # What the service signs its changes with; see instance_lookup.urls in studio/urls.py.
    "WEBHOOK_SECRETS": (
        environ.get("STUDIO_WEBHOOK_SECRET")
        or "whsec_c2FuZGJveC13ZWJob29rLXNlY3JldC1vbmx5LTAwMDE=",
    ),
    # The other way to learn of changes, such as "/stream"; one of the two is enough.
    "CONFIG_SERVICE_STREAM": environ.get("STUDIO_STREAM") or None,
    "CACHE_ALIAS": "instances",
    # People who play stop and start the service, and should see at once that it is back.
    "RETRY_INTERVAL": 0.1,
    "BREAKER_RESET": 0.1,
    # For the pages in the admin.
    "REPORT_STATUS": True,
    "IDENTIFIERS": [
        "instance_lookup.identifiers.HeaderIdentifier",
        # The pages at /instances/<instance_id>/, for browsers: a link cannot send a header.
        "instance_lookup.identifiers.PathIdentifier",
        "instance_lookup.identifiers.ProjectIdentifier",
        "instance_lookup.identifiers.UserDefaultIdentifier",
    ],
}
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        # First, since the first one's challenge is what makes an anonymous request a 401.
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["instance_lookup.permissions.IsInstanceOwnerOrAdmin"],
    "EXCEPTION_HANDLER": "instance_lookup.permissions.exception_handler",
}


def cache(name: str, serializer: str) -> dict[str, Any]:
    """Return one of ``CACHES``: in this process for a laptop, on Redis as in production."""
    if not environ.get("REDIS_URL"):
        return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": name}
    from redis.backoff import NoBackoff  # noqa: PLC0415  # the extra `redis` may be missing
    from redis.retry import Retry  # noqa: PLC0415

    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": environ["REDIS_URL"],
        "KEY_PREFIX": f"{environ.get('STUDIO_CACHE_PREFIX') or 'studio'}-{name}",
        "OPTIONS": {
            "SERIALIZER": serializer,  # no pickle
            # Generous, for a busy laptop; in production 0.2 s says as much.
            "SOCKET_CONNECT_TIMEOUT": 1.0,
            "SOCKET_TIMEOUT": 1.0,
            # redis-py tries ten times by default: seconds a request while Redis is away.
            "CONNECTION_POOL_KWARGS": {"retry": Retry(NoBackoff(), 0)},
        },
    }


CACHES = {
    "default": cache("default", "django_redis.serializers.json.JSONSerializer"),
    "instances": cache("instances", "instance_lookup.serializers.BytesSerializer"),
}
DATA_DIR = Path(environ.get("SANDBOX_DATA_DIR") or Path(__file__).parents[1] / ".data")
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "studio.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},  # writers queue instead of failing
    }
}
SECRET_KEY = environ.get("STUDIO_SECRET_KEY") or "sandbox-studio-only"
# The hand-written lookup at /naive/ lets strangers in, which is its point: on in the demo only.
STUDIO_NAIVE = environ.get("STUDIO_NAIVE") == "1"
SERVE_PORT = 8000

# Off even here: the technical error page would print API keys.
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
INSTALLED_APPS = [
    "studio",
    "instance_lookup",
    "instance_lookup.contrib.admin",
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
    "django.middleware.common.CommonMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "studio.errors.UnavailablePageMiddleware",
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
                "instance_lookup.context_processors.instance",
                "studio.views.places",
            ]
        },
    }
]
# No weaker than Django's default, and much faster: a sandbox should start at once.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher"]
ROOT_URLCONF = "studio.urls"
STATIC_URL = "static/"
TIME_ZONE = "UTC"
LOGIN_URL = LOGOUT_REDIRECT_URL = "log-in"
LOGIN_REDIRECT_URL = "home"
# Cookies do not know ports: under the usual names, a log-in here would end one at a neighbour.
SESSION_COOKIE_NAME = "studio_sessionid"
CSRF_COOKIE_NAME = "studio_csrftoken"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "instance_lookup": {"level": "INFO"},
        # A 4xx is an answer, not an event.
        "django.request": {"level": "ERROR"},
        "django.server": {"level": "CRITICAL"},
    },
}
