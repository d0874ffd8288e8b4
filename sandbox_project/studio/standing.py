"""Where a request stands: which instance, why, how it was come by, and how old it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import Any, Final

from django.http import HttpRequest

from instance_lookup import InstanceConfig, LookupContext, LookupResult, Source, get_resolver

SOURCES: Final = {
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


class InstanceRequest(HttpRequest):
    """What the middleware makes of a request, for type checkers."""

    instance_config: InstanceConfig
    instance_lookup: LookupResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What there is to tell about a lookup that succeeded. Times are in seconds or Unix time."""

    config: InstanceConfig
    source: Source
    decided_by: str
    """The identifier that named the instance."""
    allowed_as: str
    """``"owner"`` or ``"admin"``."""
    cached_at: float
    age: float
    ttl_remaining: float
    purged_in: float
    """Until not even a failing Config Service makes this copy be served."""

    @property
    def is_stale(self) -> bool:
        """Tell whether this is a copy past its time."""
        return self.source is Source.STALE_CACHE

    @property
    def origin(self) -> str:
        """Where the configuration came from, in words."""
        return SOURCES[self.source]

    @property
    def reason(self) -> str:
        """Why it is this instance, in words."""
        return REASONS[self.decided_by]

    @property
    def asked_at(self) -> datetime:
        """When the Config Service was asked."""
        return datetime.fromtimestamp(self.cached_at, UTC)

    @property
    def key_names(self) -> list[str]:
        """The names of the API keys; their values are nobody's business."""
        return sorted(self.config.api_keys)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        config = self.config
        return {
            "instance_id": config.instance_id,
            "name": config.metadata.name,
            "owner": config.metadata.owner,
            "allowed_as": self.allowed_as,
            "decided_by": self.decided_by,
            "source": self.source.value,
            "cached_at": self.cached_at,
            "age": round(self.age, 3),
            "ttl_remaining": round(self.ttl_remaining, 3),
            "features": dict(config.features),
            "rate_limits": {
                name: {"rpm": limit.rpm, "rpm_burst": limit.rpm_burst, "daily": limit.daily}
                for name, limit in config.rate_limits.items()
            },
            "worker_urls": dict(config.worker_urls),
            "key_names": self.key_names,
        }


def standing(request: Any) -> Standing:
    """Return where a request stands, Django's or DRF's. Raises what the lookup raises."""
    result: LookupResult = request.instance_lookup
    owner = result.config.metadata.owner
    age = max(0.0, time() - result.cached_at)
    return Standing(
        config=result.config,
        source=result.source,
        decided_by=deciding_identifier(request),
        # Who is neither was refused before anybody came here.
        allowed_as="owner" if owner == str(request.user.pk) else "admin",
        cached_at=result.cached_at,
        age=age,
        ttl_remaining=result.ttl_remaining,
        purged_in=max(0.0, get_resolver().settings.stale_max_age - age),
    )


def deciding_identifier(request: Any) -> str:
    """Return the name of the first identifier that names an instance: the one that decided."""
    context = LookupContext.from_request(request)
    return next(
        type(identifier).__name__
        for identifier in get_resolver().identifiers
        if identifier.identify(context, request) is not None
    )


def duration(seconds: float) -> str:
    """Return a length of time in words.

    >>> duration(0.4), duration(288), duration(3600)
    ('less than a second', '4 min 48 s', '1 h')
    """
    whole = int(seconds)
    parts = ((whole // 3600, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "less than a second"
