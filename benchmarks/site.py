"""The site that is put under load: settings, views, WSGI and ASGI in one.

It is what startproject gives, with a page for those who are logged in. ``with`` and ``without`` are
one view, but for the look at the configuration. The environment names the Redis and the database.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model, login
from django.contrib.auth.decorators import login_required
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.template import engines
from django.urls import path

if TYPE_CHECKING:
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler

SECRET_KEY = "of a site that nobody logs in to"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = __name__
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "instance_lookup",
]
# What startproject gives, and ours.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "instance_lookup.middleware.InstanceConfigMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("BENCH_DATABASE", ":memory:"),
    }
}
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
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
}
BUCKET = "studio-a-media"


@cache
def _page() -> Any:
    return engines["django"].from_string(
        "<!doctype html><title>{{ bucket }}</title><p>{{ user.username }} works in {{ bucket }}."
    )


def log_in(request: Any) -> HttpResponse:
    user, _ = get_user_model().objects.get_or_create(username="olga")
    login(request, user)
    return HttpResponse()


@login_required
def view(request: Any, *, lookup: bool) -> HttpResponse:
    bucket = request.instance_config.r2_bucket if lookup else BUCKET
    return HttpResponse(_page().render({"bucket": bucket, "user": request.user}))


@login_required
async def aview(request: Any, *, lookup: bool) -> HttpResponse:
    bucket = (await request.ainstance_config()).r2_bucket if lookup else BUCKET
    return HttpResponse(_page().render({"bucket": bucket, "user": await request.auser()}))


urlpatterns = [
    path("login", log_in),
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
