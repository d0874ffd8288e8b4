"""The test site as a server runs it: ``tests.support.live:wsgi`` and ``tests.support.live:asgi``.

Anyone may have an instance with the feature "open". The environment names the Config Service, and
may name a Redis, and secrets of the webhook, which is at ``/ops/webhook/`` then.
"""

from __future__ import annotations

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

from instance_lookup.access import HasFeature

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
settings.INSTANCE_LOOKUP = {
    "CONFIG_SERVICE_URL": os.environ["CONFIG_SERVICE_URL"],
    "ALLOW_ANONYMOUS": True,
    "ACCESS_POLICY": "tests.support.live.is_open",
    "WEBHOOK_SECRETS": os.environ.get("WEBHOOK_SECRETS", "").split(),
}
if settings.INSTANCE_LOOKUP["WEBHOOK_SECRETS"]:
    settings.ROOT_URLCONF = "tests.support.urls_webhook"

is_open = HasFeature("open")
if url := os.environ.get("CACHE_URL"):
    backend = "django.core.cache.backends.redis.RedisCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": url}}
wsgi = get_wsgi_application()
asgi = get_asgi_application()
