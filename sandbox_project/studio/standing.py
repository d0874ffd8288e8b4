"""Where a request stands: which instance, why, how it was come by, and how old it is."""

from __future__ import annotations

from time import time
from typing import Any, Final

from django import template
from django.http import HttpRequest

from instance_lookup import InstanceConfig, LookupContext, LookupResult, Source, get_resolver

ORIGINS: Final = {
    Source.SERVICE: "The Config Service was asked just now.",
    Source.CACHE: "From the cache; the Config Service was not asked.",
    Source.STALE_CACHE: "The Config Service gives no answer: this is the last copy it gave.",
}
REASONS: Final = {
    "HeaderIdentifier": "The request header X-Instance-ID names it.",
    "PathIdentifier": "The address of this page names it.",
    "ProjectIdentifier": "The project belongs to it.",
    "UserDefaultIdentifier": "Your profile names it as your default.",
}
register = template.Library()


class InstanceRequest(HttpRequest):
    """What the middleware makes of a request, for type checkers."""

    instance_config: InstanceConfig
    instance_lookup: LookupResult


def standing(request: Any) -> dict[str, Any]:
    """Return where a request stands, Django's or DRF's: all but the values of the API keys.

    Times are in seconds, ``cached_at`` in Unix time. Raises what the lookup raises.
    """
    result: LookupResult = request.instance_lookup
    config = result.config
    owner = config.metadata.owner
    return {
        "instance_id": config.instance_id,
        "name": config.metadata.name,
        "owner": owner,
        # A user who is neither was refused before.
        "allowed_as": "owner" if owner == str(request.user.pk) else "admin",
        "decided_by": deciding_identifier(request),
        "source": result.source,
        "cached_at": result.cached_at,
        "age": round(max(0.0, time() - result.cached_at), 3),
        "ttl_remaining": round(result.ttl_remaining, 3),
        "features": dict(config.features),
        "rate_limits": {
            name: {"rpm": limit.rpm, "rpm_burst": limit.rpm_burst, "daily": limit.daily}
            for name, limit in config.rate_limits.items()
        },
        "worker_urls": dict(config.worker_urls),
        "key_names": sorted(config.api_keys),
    }


def deciding_identifier(request: Any) -> str:
    """Return the name of the first identifier that names an instance: the one that decided."""
    context = LookupContext.from_request(request)
    return next(
        type(identifier).__name__
        for identifier in get_resolver().identifiers
        if identifier.identify(context, request) is not None
    )


@register.filter
def duration(seconds: float) -> str:
    """Return a length of time in words.

    >>> duration(0.4), duration(288), duration(3600)
    ('less than a second', '4 min 48 s', '1 h')
    """
    whole = int(seconds)
    parts = ((whole // 3600, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "less than a second"
