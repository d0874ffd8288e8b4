"""The lookup that people write by hand. Do not copy it: the demo shows what is wrong with it.

It looks sound: it asks the service, checks who may have the answer, and caches it. But the check
stands beside the fetch, so when the answer is in the cache, the caller is never checked.
"""

from __future__ import annotations

from typing import Any

import requests
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, JsonResponse


def get_instance_config(request: HttpRequest, instance_id: str) -> dict[str, Any]:
    key = f"instance:{instance_id}"
    config: dict[str, Any] | None = cache.get(key)
    if config is None:
        config = fetch_config(request, instance_id)
        cache.set(key, config, 300)
    return config


def fetch_config(request: HttpRequest, instance_id: str) -> dict[str, Any]:
    """Ask the service, and check who may have the answer."""
    url = f"{settings.INSTANCE_LOOKUP['CONFIG_SERVICE_URL']}/instances/{instance_id}"
    headers = {"Authorization": f"Bearer {settings.INSTANCE_LOOKUP['CONFIG_SERVICE_TOKEN']}"}
    response = requests.get(url, headers=headers, timeout=2)
    response.raise_for_status()
    config: dict[str, Any] = response.json()
    is_owner = config["metadata"]["owner"] == str(request.user.pk)
    if not is_owner and not request.user.is_superuser:
        raise PermissionDenied("Not your instance.")
    return config


@login_required
def show(request: HttpRequest, instance_id: str) -> JsonResponse:
    """Answer what the caller now holds; of the keys the names only, even here."""
    config = get_instance_config(request, instance_id)
    names = sorted(config["api_keys"])
    return JsonResponse({"instance_id": config["instance_id"], "key_names": names})
