"""Create the tables."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies: ClassVar = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]
    operations: ClassVar = [
        migrations.CreateModel(
            name="Profile",
            fields=[
                (
                    "id",
                    models.BigAutoField("ID", primary_key=True, auto_created=True, serialize=False),
                ),
                ("default_instance_id", models.CharField(blank=True, max_length=64)),
                (
                    "user",
                    models.OneToOneField(
                        settings.AUTH_USER_MODEL, models.CASCADE, related_name="profile"
                    ),
                ),
            ],
        ),
    ]
