"""``instance`` for templates: the request's instance, without its API keys."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from django.utils.functional import SimpleLazyObject

from instance_lookup.lookup import lookup_for

if TYPE_CHECKING:
    from django.http import HttpRequest

_PUBLIC = ("instance_id", "metadata", "features", "rate_limits", "worker_urls", "r2_bucket")


def instance(request: HttpRequest) -> dict[str, Any]:
    """Add ``instance``. The lookup is made when a template touches it; its errors come up there."""
    lookup = lookup_for(request)

    def public() -> SimpleNamespace:
        config = lookup.get().config
        return SimpleNamespace(**{name: getattr(config, name) for name in _PUBLIC})

    return {"instance": SimpleLazyObject(public)}
