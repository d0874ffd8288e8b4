"""The app of a Celery worker that is a process of its own; the environment says what it works on.

``CELERY_REDIS`` is its broker, result backend and cache, ``CELERY_INSTANCES`` the file with the
instances, and ``CELERY_DATABASE`` the database with the users.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from tests.support.caches import cache_config
from tests.support.celery_site import make_app, seen

if TYPE_CHECKING:
    from pathlib import Path

TOGETHER = 4
"""How many tasks ``meet`` has wait for each other."""


def site_settings(redis_url: str, instances: Path | str) -> dict[str, Any]:
    """Return the settings that publisher and worker share."""
    cache = cache_config("django-redis", redis_url=redis_url, SOCKET_TIMEOUT=20)
    return {
        "CACHES": {"default": {**cache, "KEY_PREFIX": "live-celery"}},
        "INSTANCE_LOOKUP": {
            "CONFIG_SERVICE_BACKEND": "instance_lookup.backends.file.FileConfigService",
            "CONFIG_SERVICE_URL": str(instances),
            # A copy in memory is served until the other process hears of an invalidation.
            "NEAR_CACHE_SIZE": 0,
        },
    }


def make_live_app(redis_url: str) -> Any:
    """Return the app of the tests on a real broker, with a task that waits for others."""
    app = make_app(redis_url, redis_url)
    barrier = threading.Barrier(TOGETHER, timeout=20)

    @app.task(name="meet", shared=False)  # type: ignore[untyped-decorator]
    def meet() -> list[Any]:
        before = seen()
        barrier.wait()
        return [before, seen()]

    @app.task(name="pid", shared=False)  # type: ignore[untyped-decorator]
    def pid() -> tuple[int, bool]:
        gevent = sys.modules.get("gevent.monkey")
        return os.getpid(), gevent is not None and gevent.is_module_patched("threading")

    return app


if "CELERY_REDIS" in os.environ:
    from django.conf import settings

    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    redis_url = os.environ["CELERY_REDIS"]
    for name, value in site_settings(redis_url, os.environ["CELERY_INSTANCES"]).items():
        setattr(settings, name, value)
    settings.DATABASES["default"]["NAME"] = os.environ["CELERY_DATABASE"]
    app = make_live_app(redis_url)
