"""Create the tables."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import migrations, models

from config_service.validators import IdValidator, error_statuses

AT_MOST_A_MINUTE = [MinValueValidator(0), MaxValueValidator(60)]
PERCENTAGE = [MaxValueValidator(100)]


def id_field() -> models.Field[str, str]:
    check = [IdValidator()]
    return models.CharField(max_length=64, primary_key=True, serialize=False, validators=check)


def text(name: str | None = None) -> models.Field[str, str]:
    return models.CharField(name, blank=True, max_length=200)


class Migration(migrations.Migration):
    initial = True
    operations: ClassVar = [
        migrations.CreateModel(
            name="Instance",
            fields=[
                ("instance_id", id_field()),
                ("name", text()),
                ("description", models.TextField(blank=True)),
                ("owner", text()),
                ("tenant_id", text()),
                ("api_keys", models.JSONField("API keys", blank=True, default=dict)),
                ("rate_limits", models.JSONField(blank=True, default=dict)),
                ("worker_urls", models.JSONField("worker URLs", blank=True, default=dict)),
                ("features", models.JSONField(blank=True, default=dict)),
                ("r2_bucket", text("R2 bucket")),
                ("refused_users", models.JSONField(blank=True, default=list)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
            options={"ordering": ("instance_id",)},
        ),
        migrations.CreateModel(
            name="Project",
            fields=[
                ("project_id", id_field()),
                (
                    "instance",
                    models.ForeignKey(
                        "config_service.instance", models.CASCADE, related_name="projects"
                    ),
                ),
            ],
            options={"ordering": ("project_id",)},
        ),
        migrations.CreateModel(
            name="Switches",
            fields=[
                (
                    "id",
                    models.BigAutoField("ID", primary_key=True, auto_created=True, serialize=False),
                ),
                ("down", models.BooleanField(default=False)),
                ("slow", models.FloatField(default=0, validators=AT_MOST_A_MINUTE)),
                ("errors", models.PositiveSmallIntegerField(default=0, validators=PERCENTAGE)),
                (
                    "errors_status",
                    models.PositiveSmallIntegerField(choices=error_statuses, default=500),
                ),
                ("retry_after", models.PositiveIntegerField(blank=True, null=True)),
            ],
            options={"verbose_name": "switches", "verbose_name_plural": "switches"},
        ),
    ]
