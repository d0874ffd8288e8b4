"""What the sandbox starts with: the instances of its story, a project, a superuser."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from config_service.models import Instance, Project, Switches, store

OFF: Final = {"down": False, "slow": 0, "errors": 0, "errors_status": 500, "retry_after": None}


@transaction.atomic
def plant() -> list[str]:
    """Bring the story's rows to their first state, switches off; return what had to change.

    Rows that are not of the story stay as they are. Raises ``ValidationError``, and then nothing
    has changed.
    """
    rows: list[tuple[Any, Any, dict[str, Any]]] = [
        *((Instance, name, fields) for name, fields in instances().items()),
        (Project, "film-42", {"instance_id": "studio-a"}),
        (Switches, Switches.ONLY_ID, OFF),
    ]
    changed = [f"{m.__name__.lower()} {pk}" for m, pk, fields in rows if store(m, pk, fields)]
    return changed + plant_admin(settings.SEED_ADMIN_NAME, settings.SEED_ADMIN_PASSWORD)


def instances() -> dict[str, dict[str, Any]]:
    """Return the fields of each instance of the story, by id."""
    return {
        "studio-a": {
            "name": "Studio A",
            "description": "Owned by the studio's seeded owner.",
            "owner": settings.SEED_OWNER,
            "tenant_id": "tenant-a",
            "features": {"beta": True, "upscale": True},
            **work("studio-a", rpm=60),
        },
        "studio-b": {
            "name": "Studio B",
            "description": "Owned by another user.",
            "owner": settings.SEED_OTHER_OWNER,
            "tenant_id": "tenant-b",
            "features": {"beta": False},
            **work("studio-b", rpm=10),
        },
        "no-owner": {
            "name": "Ownerless",
            "description": "No owner is recorded: for admins only.",
            "owner": "",
            "tenant_id": "",
            "features": {},
            **work("no-owner", rpm=1),
        },
    }


def work(instance_id: str, *, rpm: int) -> dict[str, Any]:
    return {
        "worker_urls": {"render": settings.SEED_WORKER_URL},
        "api_keys": {"render": f"sandbox-key-of-{instance_id}"},
        "rate_limits": {"render": {"rpm": rpm, "rpm_burst": rpm * 2, "daily": None}},
        "r2_bucket": f"{instance_id}-assets",
        "refused_users": [],
    }


def plant_admin(username: str, password: str) -> list[str]:
    """Make sure that the superuser exists and has the password; return what had to change."""
    user = User.objects.filter(username=username).first() or User(username=username)
    if user.is_superuser and user.is_staff and user.is_active and user.check_password(password):
        return []
    user.is_superuser = user.is_staff = user.is_active = True
    user.set_password(password)
    user.save()
    return [f"superuser {username}"]
