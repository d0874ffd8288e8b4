"""The lookup that people write by hand. Do not copy it: the demo shows what is wrong with it.

It looks sound: it asks the service, checks who may have the answer, caches it, and has a spare copy
for bad days. But the check stands beside the fetch, so when the answer is in the
cache, the caller is never checked.
"""

from __future__ import annotations

import logging
from typing import Any

import requests
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, JsonResponse

logger = logging.getLogger(__name__)

TTL = 300
SPARE_TTL = 3600


def get_instance_config(request: HttpRequest, instance_id: str) -> dict[str, Any]:
    config = cache.get(f"instance:{instance_id}")
    if config is None:
        config = fetch_config(instance_id, request)
        cache.set(f"instance:{instance_id}", config, TTL)
        cache.set(f"instance-spare:{instance_id}", config, SPARE_TTL)
    return dict(config)


def fetch_config(instance_id: str, request: HttpRequest) -> dict[str, Any]:
    """Ask the service; give out the spare copy if it is down."""
    url = f"{settings.INSTANCE_LOOKUP['CONFIG_SERVICE_URL']}/instances/{instance_id}"
    token = settings.INSTANCE_LOOKUP["CONFIG_SERVICE_TOKEN"]
    headers = {"Authorization": f"Bearer {token}", "X-User-ID": str(request.user.pk)}
    try:
        response = requests.get(url, headers=headers, timeout=2)
        response.raise_for_status()
        config: dict[str, Any] = response.json()
    except requests.RequestException as exc:
        logger.warning("config service: %s", exc)
        config = cache.get(f"instance-spare:{instance_id}")
        if config is None:
            raise Http404("No such instance.") from exc
    check_access(config, request)
    return config


def check_access(config: dict[str, Any], request: HttpRequest) -> None:
    """Refuse all but the owner and admins."""
    user = request.user
    is_admin = user.is_authenticated and user.is_superuser
    if config["metadata"]["owner"] != str(user.pk) and not is_admin:
        raise PermissionDenied("Not your instance.")


@login_required
def show(request: HttpRequest, instance_id: str) -> JsonResponse:
    """Answer what the caller now holds; of the keys the names only, even here."""
    config = get_instance_config(request, instance_id)
    return JsonResponse(
        {
            "instance_id": config["instance_id"],
            "owner": config["metadata"]["owner"],
            "key_names": sorted(config["api_keys"]),
        }
    )
