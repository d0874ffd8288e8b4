"""Settings of the studio.

Environment: ``CONFIG_SERVICE_URL`` and ``STUDIO_SERVICE_TOKEN`` (the Config Service and the bearer
token for it), ``REDIS_URL`` (else the caches are in this process), ``STUDIO_CACHE_PREFIX``,
``STUDIO_SECRET_KEY``, ``STUDIO_NAIVE``.
"""

from __future__ import annotations

from os import environ
from typing import Any

from server.settings import *  # noqa: F403
from server.settings import INSTALLED_APPS, LOGGING, MIDDLEWARE, databases, templates

INSTANCE_LOOKUP: dict[str, Any] = {
    "CONFIG_SERVICE_URL": environ.get("CONFIG_SERVICE_URL") or "http://127.0.0.1:8001",
    "CONFIG_SERVICE_TOKEN": environ.get("STUDIO_SERVICE_TOKEN") or "sandbox-token",
    "CACHE_ALIAS": "instances",
    # People who play stop and start the service, and should see at once that it is back.
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

REDIS_URL = environ.get("REDIS_URL") or ""
CACHE_PREFIX = environ.get("STUDIO_CACHE_PREFIX") or "studio"
REDIS_TIMEOUT = 1.0  # generous, for a busy laptop; in production 0.2 s says as much


def cache(name: str, serializer: str) -> dict[str, Any]:
    """Return one of ``CACHES``: in this process for a laptop, on Redis as in production."""
    if not REDIS_URL:
        return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": name}
    from redis.backoff import NoBackoff  # noqa: PLC0415  # the extra `redis` may be missing
    from redis.retry import Retry  # noqa: PLC0415

    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": f"{CACHE_PREFIX}-{name}",
        "OPTIONS": {
            "SERIALIZER": serializer,  # no pickle
            "SOCKET_CONNECT_TIMEOUT": REDIS_TIMEOUT,
            "SOCKET_TIMEOUT": REDIS_TIMEOUT,
            # redis-py tries ten times by default: seconds a request while Redis is away.
            "CONNECTION_POOL_KWARGS": {"retry": Retry(NoBackoff(), 0)},
        },
    }


CACHES = {
    "default": cache("default", "django_redis.serializers.json.JSONSerializer"),
    "instances": cache("instances", "instance_lookup.serializers.BytesSerializer"),
}

SECRET_KEY = environ.get("STUDIO_SECRET_KEY") or "sandbox-studio-only"
# The hand-written lookup at /naive/ lets strangers in, which is its point: on in the demo only.
STUDIO_NAIVE = environ.get("STUDIO_NAIVE") == "1"

SERVE_PORT = 8000
SERVE_SEED = "studio.seed.plant"

INSTALLED_APPS = [
    "studio",
    "instance_lookup",
    "rest_framework",
    "rest_framework.authtoken",
    *INSTALLED_APPS,
]
MIDDLEWARE = [
    *MIDDLEWARE,
    "studio.errors.UnavailablePageMiddleware",
    "instance_lookup.middleware.InstanceConfigMiddleware",
]
TEMPLATES = templates(
    "instance_lookup.context_processors.instance",
    "studio.views.places",
    libraries={"studio": "studio.standing"},
)
DATABASES = databases("studio")
ROOT_URLCONF = "studio.urls"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        # First, since the first one's challenge is what makes an anonymous request a 401.
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["instance_lookup.permissions.IsInstanceOwnerOrAdmin"],
    "EXCEPTION_HANDLER": "instance_lookup.permissions.exception_handler",
}

LOGIN_URL = "log-in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "log-in"

# Cookies do not know ports: under the usual names, a log-in here would end one at a neighbour.
SESSION_COOKIE_NAME = "studio_sessionid"
CSRF_COOKIE_NAME = "studio_csrftoken"

LOGGING["loggers"] = {
    "instance_lookup": {"level": "INFO"},
    # A 4xx is an answer, not an event.
    "django.request": {"level": "ERROR"},
    "django.server": {"level": "CRITICAL"},
}
