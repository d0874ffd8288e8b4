"""What the Config Service stores."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, ClassVar, Final

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from config_service import validators


class Instance(models.Model):
    """One tenant's configuration."""

    objects: ClassVar[models.Manager[Instance]]

    instance_id = models.CharField(
        max_length=64,
        primary_key=True,
        validators=[validators.IdValidator()],
        help_text="Cannot be changed later: another id is another instance.",
    )
    name = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    owner = models.CharField(
        max_length=200,
        blank=True,
        help_text="User id of the owner. Empty: admins only.",
    )
    tenant_id = models.CharField(max_length=200, blank=True)
    api_keys = models.JSONField(
        "API keys", default=dict, blank=True, help_text='Such as {"render": "secret"}.'
    )
    rate_limits = models.JSONField(
        default=dict,
        blank=True,
        help_text='Such as {"render": {"rpm": 60, "rpm_burst": 10}}.',
    )
    worker_urls = models.JSONField(
        "worker URLs",
        default=dict,
        blank=True,
        help_text='Such as {"render": "https://worker.example/jobs"}.',
    )
    features = models.JSONField(default=dict, blank=True, help_text='Such as {"beta": true}.')
    r2_bucket = models.CharField("R2 bucket", max_length=200, blank=True)
    refused_users = models.JSONField(
        default=list,
        blank=True,
        help_text='User ids (X-User-ID) answered with 403, such as ["7"].',
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("instance_id",)

    def __str__(self) -> str:
        return self.instance_id

    def clean(self) -> None:
        """Check the JSON fields, each under its own name."""
        errors: dict[str, Any] = {}
        for name, check in JSON_CHECKS.items():
            self._fill_if_empty(name)
            try:
                check(getattr(self, name))
            except ValidationError as exc:
                errors[name] = exc.error_list
        if errors:
            raise ValidationError(errors)

    def _fill_if_empty(self, name: str) -> None:
        # An emptied form field arrives as None, which the column does not take.
        if getattr(self, name) is None:
            setattr(self, name, [] if name == "refused_users" else {})


# Not the fields' own validators: Django skips those for empty values, and [] is no object.
JSON_CHECKS: Final = {**validators.CHECKS, "refused_users": validators.validate_user_ids}


class Project(models.Model):
    """A project, which belongs to one instance."""

    objects: ClassVar[models.Manager[Project]]
    instance_id: str

    project_id = models.CharField(
        max_length=64, primary_key=True, validators=[validators.IdValidator()]
    )
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="projects")

    class Meta:
        ordering = ("project_id",)

    def __str__(self) -> str:
        return self.project_id


class Switches(models.Model):
    """The one row that breaks the service on purpose, on API paths only."""

    objects: ClassVar[models.Manager[Switches]]

    ONLY_ID: Final = 1
    STATUSES: Final = tuple(HTTPStatus(code) for code in (408, 410, 425, 429, 500, 502, 503, 504))

    down = models.BooleanField(default=False, help_text="Answer 503 to every API request.")
    slow = models.FloatField(
        default=0,
        validators=[MinValueValidator(0), MaxValueValidator(60)],
        help_text="Wait this many seconds before each answer.",
    )
    errors = models.PositiveSmallIntegerField(
        default=0,
        validators=[MaxValueValidator(100)],
        help_text="Percentage of API requests answered with the status below.",
    )
    errors_status = models.PositiveSmallIntegerField(
        default=500, choices=[(status.value, f"{status} {status.phrase}") for status in STATUSES]
    )
    retry_after = models.PositiveIntegerField(
        null=True, blank=True, help_text="Seconds, sent as Retry-After with a 429 or 503."
    )

    class Meta:
        verbose_name = verbose_name_plural = "switches"

    def __str__(self) -> str:
        return ", ".join(self.on()) or "all off"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save as the only row."""
        self.pk = self.ONLY_ID
        super().save(*args, **kwargs)

    @classmethod
    def load(cls) -> Switches:
        """Return the switches as they stand; all off if nobody has touched them."""
        return cls.objects.filter(pk=cls.ONLY_ID).first() or cls()

    def on(self) -> list[str]:
        """Say in words what is switched on."""
        words = []
        if self.down:
            words.append("down: every API request is answered with 503")
        if self.slow:
            words.append(f"slow: every answer takes {self.slow:g} s longer")
        if self.errors:
            words.append(f"errors: {self.errors} % of answers are {self.errors_status}")
        return words
