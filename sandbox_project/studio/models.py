"""What the studio knows about people beside their log-in."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models


class Profile(models.Model):
    """``instance_lookup`` finds it as ``user.profile``."""

    objects: ClassVar[models.Manager[Profile]]

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True)
    # The instance this person works in when a request names none.
    default_instance_id = models.CharField(max_length=64, blank=True)

    def __str__(self) -> str:
        return f"{self.user}: {self.default_instance_id}"
