"""What the admin needs for a link, permissions and its log. There is no table."""

from __future__ import annotations

from django.db import models


class Instance(models.Model):
    """An instance by its id. It is never saved: the Config Service owns the data."""

    instance_id = models.CharField("id", max_length=255, primary_key=True)

    class Meta:
        managed = False
        default_permissions = ("view", "change")
        verbose_name = "instance"
        verbose_name_plural = "instances"

    def __str__(self) -> str:
        return self.instance_id or "all instances"
