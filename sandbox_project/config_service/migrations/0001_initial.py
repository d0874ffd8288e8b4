"""Create the tables."""

# Written by makemigrations.
# ruff: noqa: RUF012

from __future__ import annotations

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

import config_service.validators


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Instance",
            fields=[
                (
                    "instance_id",
                    models.CharField(
                        help_text="Cannot be changed later: another id is another instance.",
                        max_length=64,
                        primary_key=True,
                        serialize=False,
                        validators=[config_service.validators.IdValidator()],
                    ),
                ),
                ("name", models.CharField(blank=True, max_length=200)),
                ("description", models.TextField(blank=True)),
                (
                    "owner",
                    models.CharField(
                        blank=True,
                        help_text="User id of the owner. Empty: admins only.",
                        max_length=200,
                    ),
                ),
                ("tenant_id", models.CharField(blank=True, max_length=200)),
                (
                    "api_keys",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text='Such as {"render": "secret"}.',
                        verbose_name="API keys",
                    ),
                ),
                (
                    "rate_limits",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text='Such as {"render": {"rpm": 60, "rpm_burst": 10}}.',
                    ),
                ),
                (
                    "worker_urls",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text='Such as {"render": "https://worker.example/jobs"}.',
                        verbose_name="worker URLs",
                    ),
                ),
                (
                    "features",
                    models.JSONField(blank=True, default=dict, help_text='Such as {"beta": true}.'),
                ),
                (
                    "r2_bucket",
                    models.CharField(blank=True, max_length=200, verbose_name="R2 bucket"),
                ),
                (
                    "refused_users",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text='User ids (X-User-ID) answered with 403, such as ["7"].',
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "ordering": ("instance_id",),
            },
        ),
        migrations.CreateModel(
            name="Switches",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "down",
                    models.BooleanField(
                        default=False, help_text="Answer 503 to every API request."
                    ),
                ),
                (
                    "slow",
                    models.FloatField(
                        default=0,
                        help_text="Wait this many seconds before each answer.",
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(60),
                        ],
                    ),
                ),
                (
                    "errors",
                    models.PositiveSmallIntegerField(
                        default=0,
                        help_text="Percentage of API requests answered with the status below.",
                        validators=[django.core.validators.MaxValueValidator(100)],
                    ),
                ),
                (
                    "errors_status",
                    models.PositiveSmallIntegerField(
                        choices=[
                            (408, "408 Request Timeout"),
                            (410, "410 Gone"),
                            (425, "425 Too Early"),
                            (429, "429 Too Many Requests"),
                            (500, "500 Internal Server Error"),
                            (502, "502 Bad Gateway"),
                            (503, "503 Service Unavailable"),
                            (504, "504 Gateway Timeout"),
                        ],
                        default=500,
                    ),
                ),
                (
                    "retry_after",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Seconds, sent as Retry-After with a 429 or 503.",
                        null=True,
                    ),
                ),
            ],
            options={
                "verbose_name": "switches",
                "verbose_name_plural": "switches",
            },
        ),
        migrations.CreateModel(
            name="Project",
            fields=[
                (
                    "project_id",
                    models.CharField(
                        max_length=64,
                        primary_key=True,
                        serialize=False,
                        validators=[config_service.validators.IdValidator()],
                    ),
                ),
                (
                    "instance",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="projects",
                        to="config_service.instance",
                    ),
                ),
            ],
            options={
                "ordering": ("project_id",),
            },
        ),
    ]
