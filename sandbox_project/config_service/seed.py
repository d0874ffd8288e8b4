"""What the sandbox starts with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.contrib.auth.models import User

from config_service.models import Instance, Project, Switches

OFF: Final = {"down": False, "slow": 0, "errors": 0, "errors_status": 500, "retry_after": None}


@dataclass(frozen=True, slots=True)
class Seed:
    """What the studio knows and this service does not."""

    owner: str
    """User id, at the studio, of the owner of ``studio-a``."""
    other_owner: str
    """User id of the owner of ``studio-b``."""
    worker_url: str


def instances(seed: Seed) -> dict[str, dict[str, Any]]:
    """Return the fields of each instance of the story, by id."""
    return {
        "studio-a": {
            "name": "Studio A",
            "description": "Owned by the studio's seeded owner.",
            "owner": seed.owner,
            "tenant_id": "tenant-a",
            "features": {"beta": True, "upscale": True},
            **_work("studio-a", seed.worker_url, rpm=60),
        },
        "studio-b": {
            "name": "Studio B",
            "description": "Owned by somebody else.",
            "owner": seed.other_owner,
            "tenant_id": "tenant-b",
            "features": {"beta": False},
            **_work("studio-b", seed.worker_url, rpm=10),
        },
        "no-owner": {
            "name": "Nobody's",
            "description": "No owner is recorded: for admins only.",
            "owner": "",
            "tenant_id": "",
            "features": {},
            **_work("no-owner", seed.worker_url, rpm=1),
        },
    }


def _work(instance_id: str, worker_url: str, *, rpm: int) -> dict[str, Any]:
    return {
        "worker_urls": {"render": worker_url},
        "api_keys": {"render": f"sandbox-key-of-{instance_id}"},
        "rate_limits": {"render": {"rpm": rpm, "rpm_burst": rpm * 2, "daily": None}},
        "r2_bucket": f"{instance_id}-assets",
        "refused_users": [],
    }


def plant(seed: Seed) -> list[str]:
    """Bring the story's rows to their first state, switches off; return what had to change.

    Rows that are not of the story stay as they are.
    """
    changed = [_plant(Instance, pk, fields) for pk, fields in instances(seed).items()]
    changed.append(_plant(Project, "film-42", {"instance_id": "studio-a"}))
    changed.append(_plant(Switches, Switches.ONLY_ID, OFF))
    return [name for name in changed if name]


def _plant(model: Any, pk: Any, fields: dict[str, Any]) -> str:
    found = model.objects.filter(pk=pk).first()
    if found and all(getattr(found, name) == value for name, value in fields.items()):
        # Saving would move updated_at, and with it the ETag of a configuration that is the same.
        return ""
    row = found or model(pk=pk)
    for name, value in fields.items():
        setattr(row, name, value)
    row.full_clean(validate_unique=found is None)
    row.save()
    return f"{model.__name__.lower()} {pk}"


def plant_admin(username: str, password: str) -> str:
    """Make sure that the superuser exists and has the password; return what had to change."""
    user = User.objects.filter(username=username).first() or User(username=username)
    if user.is_superuser and user.is_staff and user.is_active and user.check_password(password):
        return ""
    user.is_superuser = user.is_staff = user.is_active = True
    user.set_password(password)
    user.save()
    return f"superuser {username}"
