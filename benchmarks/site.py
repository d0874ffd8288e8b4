"""The site that is put under load: settings, views, WSGI and ASGI in one.

``with`` and ``without`` are one view, but for the look at the configuration. The environment names
the Redis. Who asks is what the header ``X-User`` says, so that no database is in the way.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

from instance_lookup import LookupUser

if TYPE_CHECKING:
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpRequest

SECRET_KEY = "of a site that nobody logs in to"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = __name__
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "instance_lookup"]
MIDDLEWARE = ["instance_lookup.middleware.InstanceConfigMiddleware"]
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ.get("BENCH_REDIS_URL", ""),
        "OPTIONS": {
            "SERIALIZER": "instance_lookup.serializers.BytesSerializer",
            "SOCKET_CONNECT_TIMEOUT": 5,
            "SOCKET_TIMEOUT": 5,
        },
    },
}
INSTANCE_LOOKUP = {
    "CONFIG_SERVICE_URL": os.environ.get("BENCH_SERVICE_URL", ""),
    "USER_CONTEXT": f"{__name__}.user_context",
}
# Two headers are all that the lookup needs, and both kinds of request carry them.
HEADERS = {"X-Instance-ID": "studio-a", "X-User": "1"}
BUCKET = "studio-a-media"


def user_context(user: Any, request: HttpRequest) -> LookupUser:  # noqa: ARG001  # USER_CONTEXT
    return LookupUser(request.headers["X-User"])


def answer(text: str) -> HttpResponse:
    """Return a response that tells its length, as ``CommonMiddleware`` would have it do."""
    return HttpResponse(text, headers={"Content-Length": str(len(text))})


def view(request: Any, *, lookup: bool) -> HttpResponse:
    return answer(request.instance_config.r2_bucket if lookup else BUCKET)


async def aview(request: Any, *, lookup: bool) -> HttpResponse:
    if lookup:
        return answer((await request.ainstance_config()).r2_bucket)
    return answer(BUCKET)


urlpatterns = [
    path("gunicorn/with", view, {"lookup": True}),
    path("gunicorn/without", view, {"lookup": False}),
    path("uvicorn/with", aview, {"lookup": True}),
    path("uvicorn/without", aview, {"lookup": False}),
]


def wsgi() -> WSGIHandler:
    os.environ["DJANGO_SETTINGS_MODULE"] = __name__
    return get_wsgi_application()


def asgi() -> ASGIHandler:
    os.environ["DJANGO_SETTINGS_MODULE"] = __name__
    return get_asgi_application()
