"""The test site with the metrics of its page: ``tests.outages.live_metrics:wsgi``.

The module ``mysite.metrics`` is the view that docs/operations/metrics.md shows.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from django.conf import settings
from django.urls import path

settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "instance_lookup.contrib.prometheus"]
settings.ROOT_URLCONF = __name__

from instance_lookup import LookupUser  # noqa: E402
from tests.outages.live_fleet import wsgi  # noqa: E402  # sets Django up
from tests.support.urls import urlpatterns as of_site  # noqa: E402  # needs Django

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.urls import URLPattern, URLResolver

settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "USER_CONTEXT": f"{__name__}.olga"}

__all__ = ["urlpatterns", "wsgi"]

urlpatterns: list[URLPattern | URLResolver] = [
    *of_site,
    path("metrics", import_module("mysite.metrics").metrics),
]


def olga(user: object, request: HttpRequest | None = None) -> LookupUser:
    """Return the one user of this site, whose lookups may be answered from memory at once."""
    return LookupUser("olga")
