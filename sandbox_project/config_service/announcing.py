"""Which changes are told: what the models' signals say goes into the outbox.

Signals, since everything that changes rows through the models sends them: forms, the admin's API
and its action "delete selected", cascades, fixtures, a shell. ``QuerySet.update``, ``bulk_create``
and ``bulk_update`` send none: use them, and nobody is told.
"""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_delete, post_save, pre_save
from django.dispatch import receiver

from config_service.models import Instance, Project
from config_service.outbox import note


@receiver(pre_save, sender=Instance)
def remember(instance: Instance, **kwargs: Any) -> None:
    """Keep who may have the instance up to now."""
    instance.access_before = access(instance)


@receiver(post_save, sender=Instance)
def instance_saved(instance: Instance, **kwargs: Any) -> None:
    """Tell that an instance changed; if someone may have lost access, that it was revoked."""
    is_revoked = takes_access(instance.access_before, access(instance))
    note("instance", "revoked" if is_revoked else "updated", instance.pk)


@receiver(post_delete, sender=Instance)
def instance_deleted(instance: Instance, **kwargs: Any) -> None:
    note("instance", "deleted", instance.pk)


@receiver(post_save, sender=Project)
def project_saved(instance: Project, **kwargs: Any) -> None:
    note("project", "updated", instance.pk)


@receiver(post_delete, sender=Project)
def project_deleted(instance: Project, **kwargs: Any) -> None:
    note("project", "deleted", instance.pk)


def access(instance: Instance) -> tuple[str, str, list[str]] | None:
    """Return owner, tenant and refused users as they are stored; ``None`` where nothing is."""
    # Not from the object: with `update_fields` not all that it holds is stored.
    stored = Instance.objects.filter(pk=instance.pk)
    return stored.values_list("owner", "tenant_id", "refused_users").first()


def takes_access(
    before: tuple[str, str, list[str]] | None, after: tuple[str, str, list[str]] | None
) -> bool:
    """Tell whether someone who had access may have none now."""
    if before is None or after is None:
        return False
    is_other = any(old not in {"", new} for old, new in zip(before[:2], after[:2], strict=True))
    return is_other or not set(after[2]) <= set(before[2])
