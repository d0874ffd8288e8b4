"""The site that the examples in docs/reference are of: one view, and a tenant or two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpResponse
from django.urls import path

from instance_lookup.backends.memory import DictConfigService

if TYPE_CHECKING:
    from django.http import HttpRequest

SECRET_KEY = "of the examples"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = __name__
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "instance_lookup"]
MIDDLEWARE = ["instance_lookup.middleware.InstanceConfigMiddleware"]
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {"instance_lookup": {"level": "CRITICAL"}, "django": {"level": "CRITICAL"}},
}
INSTANCE_LOOKUP: dict[str, Any] = {"CONFIG_SERVICE_BACKEND": DictConfigService()}


def where(request: HttpRequest) -> HttpResponse:
    """Touch the instance of the request."""
    return HttpResponse(request.instance_config.instance_id)  # type: ignore[attr-defined]


urlpatterns = [path("where/", where)]
