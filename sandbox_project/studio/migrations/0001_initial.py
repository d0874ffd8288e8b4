"""Create the table."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import migrations, models

USER = settings.AUTH_USER_MODEL


class Migration(migrations.Migration):
    initial = True
    dependencies: ClassVar = [migrations.swappable_dependency(USER)]
    operations: ClassVar = [
        migrations.CreateModel(
            name="Profile",
            fields=[
                (
                    "user",
                    models.OneToOneField(USER, models.CASCADE, primary_key=True, serialize=False),
                ),
                ("default_instance_id", models.CharField(blank=True, max_length=64)),
            ],
        ),
    ]
