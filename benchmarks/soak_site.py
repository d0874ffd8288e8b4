"""The site that the soak drives: settings, views and WSGI in one. ``benchmarks.soak_site:wsgi()``.

The environment names its Redis and its Config Service. Who asks is what the header ``X-User`` says.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path

from instance_lookup import CacheError, LookupUser, get_resolver

if TYPE_CHECKING:
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpRequest

TIMEOUT, NEAR_TTL, STALE_MAX_AGE, RETRY_INTERVAL = 1.0, 1.0, 20.0, 2.0

SECRET_KEY = "of a site that nobody logs in to"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = __name__
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "instance_lookup"]
MIDDLEWARE = ["instance_lookup.middleware.InstanceConfigMiddleware"]
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ.get("SOAK_REDIS_URL", ""),
        "OPTIONS": {
            "SERIALIZER": "instance_lookup.serializers.BytesSerializer",
            "SOCKET_CONNECT_TIMEOUT": 0.3,
            "SOCKET_TIMEOUT": 0.3,
        },
    },
}
INSTANCE_LOOKUP = {
    "CONFIG_SERVICE_URL": os.environ.get("SOAK_SERVICE_URL", ""),
    "CONFIG_SERVICE_TIMEOUT": TIMEOUT,
    "SOFT_TIMEOUT": 0.2,
    "CACHE_TTL": 2,
    "STALE_MAX_AGE": STALE_MAX_AGE,
    "NEGATIVE_TTL": 2,
    "NEAR_CACHE_TTL": NEAR_TTL,
    "RETRY_INTERVAL": RETRY_INTERVAL,
    "BREAKER_RESET": 1.0,
    "USER_CONTEXT": f"{__name__}.user_context",
}


def user_context(user: Any, request: HttpRequest) -> LookupUser:  # noqa: ARG001  # USER_CONTEXT
    return LookupUser(request.headers["X-User"])


def config(request: Any) -> HttpResponse:
    found = request.instance_config
    return JsonResponse({"instance_id": found.instance_id, "version": found.r2_bucket})


def invalidate(request: HttpRequest) -> HttpResponse:
    """Answer 204 only when the shared cache took it."""
    try:
        if instance_id := request.GET.get("id"):
            get_resolver().invalidate_cache(instance_id)
        else:
            get_resolver().invalidate_all_caches()
    except CacheError as error:
        return HttpResponse(str(error), status=503)
    return HttpResponse(status=204)


urlpatterns = [path("config", config), path("invalidate", invalidate)]


def wsgi() -> WSGIHandler:
    os.environ["DJANGO_SETTINGS_MODULE"] = __name__
    return get_wsgi_application()
