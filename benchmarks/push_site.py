"""A site whose processes say when they serve something new: its settings, and WSGI.

The environment names its Redis, the Config Service and its token, the secret of the webhook, the
path of the stream, the instance that is watched, and the socket on which each process says it.
"""

from __future__ import annotations

import os
import socket
from threading import Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from django.core.wsgi import get_wsgi_application

if TYPE_CHECKING:
    from django.core.handlers.wsgi import WSGIHandler

LOOK = 0.001
"""Seconds between two looks of a process."""

SECRET_KEY = "of a site that nobody logs in to"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "instance_lookup.urls"
USE_TZ = True
INSTALLED_APPS = ["instance_lookup"]
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ.get("BENCH_REDIS_URL", ""),
        "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 5, "SOCKET_TIMEOUT": 5},
    },
}
INSTANCE_LOOKUP: dict[str, Any] = {
    "CONFIG_SERVICE_URL": os.environ.get("BENCH_SERVICE_URL", ""),
    "CONFIG_SERVICE_TOKEN": os.environ.get("BENCH_SERVICE_TOKEN", ""),
    "CONFIG_SERVICE_STREAM": os.environ.get("BENCH_STREAM") or None,
    "WEBHOOK_SECRETS": tuple(os.environ.get("BENCH_WEBHOOK_SECRET", "").split()),
}


def wsgi() -> WSGIHandler:
    """Return the site, and have this process watch the instance."""
    os.environ["DJANGO_SETTINGS_MODULE"] = __name__
    site = get_wsgi_application()
    Thread(target=_watch, daemon=True).start()
    return site


def _watch() -> None:
    """Say each new version of the instance: the process, the version, and the moment."""
    from instance_lookup import (  # noqa: PLC0415  # after Django is set up
        InstanceLookupError,
        LookupContext,
        LookupUser,
        get_resolver,
    )

    context = LookupContext(LookupUser.service(), os.environ["BENCH_INSTANCE"])
    resolver, last = get_resolver(), None
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.connect(os.environ["BENCH_SOCKET"])
        while True:
            sleep(LOOK)
            try:
                version = resolver.resolve(context).config.r2_bucket
            except InstanceLookupError:
                continue  # the service is not up yet
            if version != last:
                to.send(f"{os.getpid()} {version} {monotonic()}".encode())
                last = version
