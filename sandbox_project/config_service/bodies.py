"""The documents of the API: one builder a type."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from config_service.validators import RATE_LIMIT_FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config_service.models import Instance, Project


def instance_body(instance: Instance) -> dict[str, Any]:
    """Build the configuration of one instance."""
    return {
        "instance_id": instance.instance_id,
        "api_keys": instance.api_keys,
        "rate_limits": {name: rate_limit(limit) for name, limit in instance.rate_limits.items()},
        "worker_urls": instance.worker_urls,
        "r2_bucket": instance.r2_bucket,
        "metadata": {
            "name": instance.name or None,
            "description": instance.description or None,
            "owner": instance.owner or None,
            "tenant_id": instance.tenant_id or None,
            "created_at": rfc3339(instance.created_at),
            "updated_at": rfc3339(instance.updated_at),
        },
        "features": instance.features,
    }


def rate_limit(limit: dict[str, float | None]) -> dict[str, int | None]:
    """Build one rate limit with all of its fields."""
    numbers = {name: limit.get(name) for name in RATE_LIMIT_FIELDS}
    # What was typed as 60.0 is 60.
    return {name: None if number is None else int(number) for name, number in numbers.items()}


def project_body(project: Project) -> dict[str, str]:
    """Build the mapping of a project to its instance."""
    return {"project_id": project.project_id, "instance_id": project.instance_id}


def page_body(instance_ids: Sequence[str], cursor: str | None) -> dict[str, Any]:
    """Build one page of the listing."""
    return {"instances": list(instance_ids), "next": cursor}


def rfc3339(moment: datetime) -> str:
    """Format a date in UTC.

    >>> rfc3339(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
