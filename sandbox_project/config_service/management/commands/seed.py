"""``manage.py seed``: what the sandbox starts with, its instances, a project, a superuser."""

from __future__ import annotations

from os import environ
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from config_service.models import Instance, Project, Switches, store


class Command(BaseCommand):
    """Plant the rows of the story, and a superuser."""

    help = "Put the rows of the sandbox's story into their first state; other rows stay."

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        # What the studio knows and this service does not.
        owner = environ.get("SANDBOX_OWNER_ID") or "2"
        neighbour = environ.get("SANDBOX_OTHER_OWNER_ID") or "3"
        try:
            plant("studio-a", "Studio A", owner, rpm=60, features={"beta": True, "upscale": True})
            plant("studio-b", "Studio B", neighbour, rpm=10, features={"beta": False})
            plant("no-owner", "Ownerless", "", rpm=1, features={})
        except ValidationError as exc:
            raise CommandError(" ".join(exc.messages)) from exc
        store(Project, "film-42", {"instance_id": "studio-a"})
        Switches(pk=Switches.ONLY_ID).save()  # all off
        name = environ.get("CONFIG_SERVICE_ADMIN_NAME") or "admin"
        admin, _ = User.objects.get_or_create(username=name)
        password = environ.get("CONFIG_SERVICE_ADMIN_PASSWORD") or "sandbox"
        # A new hash of the same password would end the admin's sessions.
        if not admin.check_password(password):
            admin.set_password(password)
        admin.is_superuser = admin.is_staff = admin.is_active = True
        admin.save()


def plant(instance_id: str, name: str, owner: str, *, rpm: int, features: dict[str, bool]) -> None:
    """Bring an instance to its first state."""
    worker_url = environ.get("SANDBOX_WORKER_URL") or "http://127.0.0.1:8002/jobs"
    fields = {
        "name": name,
        "description": "Of the sandbox's story.",
        "owner": owner,
        "tenant_id": f"tenant-of-{owner}" if owner else "",
        "features": features,
        "worker_urls": {"render": worker_url},
        "api_keys": {"render": f"sandbox-key-of-{instance_id}"},
        "rate_limits": {"render": {"rpm": rpm, "rpm_burst": None, "daily": None}},
        "r2_bucket": f"{instance_id}-assets",
        "refused_users": [],
    }
    store(Instance, instance_id, fields)
