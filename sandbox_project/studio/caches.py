"""``CACHES``: in the process for a laptop, on Redis as in production."""

from __future__ import annotations

from typing import Any

# Generous, for a busy laptop; in production 0.2 s says as much.
TIMEOUT = 1.0


def local_caches() -> dict[str, dict[str, Any]]:
    """Return caches that live and die with this process."""
    backend = "django.core.cache.backends.locmem.LocMemCache"
    return {
        "default": {"BACKEND": backend, "LOCATION": "studio"},
        "instances": {"BACKEND": backend, "LOCATION": "studio-instances"},
    }


def redis_caches(url: str, prefix: str) -> dict[str, dict[str, Any]]:
    """Return caches on Redis or Valkey: an alias of its own for the instances, and no pickle."""
    return {
        "default": _redis(url, prefix, "django_redis.serializers.json.JSONSerializer"),
        "instances": _redis(
            url, f"{prefix}-instances", "instance_lookup.serializers.BytesSerializer"
        ),
    }


def _redis(url: str, prefix: str, serializer: str) -> dict[str, Any]:
    from redis.backoff import NoBackoff  # noqa: PLC0415  # the extra `redis` may be missing
    from redis.retry import Retry  # noqa: PLC0415

    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": url,
        "KEY_PREFIX": prefix,
        "OPTIONS": {
            "SERIALIZER": serializer,
            "SOCKET_CONNECT_TIMEOUT": TIMEOUT,
            "SOCKET_TIMEOUT": TIMEOUT,
            # redis-py tries ten times by default: seconds a request while Redis is away.
            "CONNECTION_POOL_KWARGS": {"retry": Retry(NoBackoff(), 0)},
        },
    }
