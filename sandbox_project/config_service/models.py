"""What the Config Service stores. There are no migrations: the sandbox's data is thrown away."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, ClassVar, Final

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction

from config_service.outbox import Change, Delivery, Receiver
from config_service.validators import CHECKS, validate_id, validate_user_ids

__all__ = ["Change", "Delivery", "Instance", "Project", "Receiver", "Switches", "store"]


class Told(models.Model):
    """A row whose changes are told to sites (see ``announcing``): row and change, or neither."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        # Deleting, loading fixtures and the admin's forms have a transaction anyway.
        with transaction.atomic():
            super().save(*args, **kwargs)


class Instance(Told):
    access_before: tuple[str, str, list[str]] | None = None
    """Of ``announcing``, while it is being saved."""

    objects: ClassVar[models.Manager[Instance]]

    instance_id = models.CharField(
        max_length=64,
        primary_key=True,
        validators=[validate_id],
        help_text="Cannot be changed later: another id is another instance.",
    )
    name = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    owner = models.CharField(max_length=200, blank=True, help_text="A user id. Empty: admins only.")
    tenant_id = models.CharField(max_length=200, blank=True)
    api_keys = models.JSONField("API keys", default=dict, blank=True)
    rate_limits = models.JSONField(
        default=dict, blank=True, help_text='Such as {"render": {"rpm": 60, "rpm_burst": 10}}.'
    )
    worker_urls = models.JSONField("worker URLs", default=dict, blank=True)
    features = models.JSONField(default=dict, blank=True, help_text='Such as {"beta": true}.')
    r2_bucket = models.CharField("R2 bucket", max_length=200, blank=True)
    refused_users = models.JSONField(
        default=list, blank=True, help_text='User ids that are answered with 403, such as ["7"].'
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
        # Not the fields' own validators: Django skips those for empty values, and [] is no object.
        for name, check in {**CHECKS, "refused_users": validate_user_ids}.items():
            # An emptied form field arrives as None, which the column does not take.
            if getattr(self, name) is None:
                setattr(self, name, [] if name == "refused_users" else {})
            try:
                check(getattr(self, name))
            except ValidationError as exc:
                errors[name] = exc.error_list
        if errors:
            raise ValidationError(errors)


class Project(Told):
    """A project, which belongs to one instance."""

    objects: ClassVar[models.Manager[Project]]
    instance_id: str

    project_id = models.CharField(max_length=64, primary_key=True, validators=[validate_id])
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE)

    class Meta:
        ordering = ("project_id",)

    def __str__(self) -> str:
        return self.project_id


def error_statuses() -> list[tuple[int, str]]:
    """Return what the service can be told to answer."""
    statuses = map(HTTPStatus, (408, 410, 425, 429, 500, 502, 503, 504))
    return [(status.value, f"{status.value} {status.phrase}") for status in statuses]


class Switches(models.Model):
    """The one row that breaks the service on purpose, on API paths only."""

    objects: ClassVar[models.Manager[Switches]]

    ONLY_ID: Final = 1

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
    errors_status = models.PositiveSmallIntegerField(default=500, choices=error_statuses)
    retry_after = models.PositiveIntegerField(
        null=True, blank=True, help_text="Seconds, sent as Retry-After with a 429 or 503."
    )

    class Meta:
        verbose_name = verbose_name_plural = "switches"

    def __str__(self) -> str:
        return ", ".join(self.on()) or "all off"

    @classmethod
    def load(cls) -> Switches:
        """Return the switches as they stand; all off if they were never touched."""
        return cls.objects.filter(pk=cls.ONLY_ID).first() or cls(pk=cls.ONLY_ID)

    def on(self) -> list[str]:
        words = {
            "down: every API request is answered with 503": self.down,
            f"slow: every answer takes {self.slow:g} s longer": self.slow,
            f"errors: {self.errors} % of answers are {self.errors_status}": self.errors,
        }
        return [text for text, is_on in words.items() if is_on]


def store(model: type[models.Model], pk: Any, fields: dict[str, Any]) -> None:
    """Set fields of a row, which is made if it is missing. Raises ``ValidationError`` by field."""
    known = {field.attname for field in model._meta.concrete_fields}  # noqa: SLF001  # documented
    if unknown := fields.keys() - known:
        raise ValidationError(dict.fromkeys(unknown, "There is no such field."))
    manager: models.Manager[Any] = model.objects  # type: ignore[attr-defined]  # of each model here
    found = manager.filter(pk=pk).first()
    if found and all(getattr(found, name) == value for name, value in fields.items()):
        # Saving would move updated_at, and with it the ETag of a configuration that is the same.
        return
    row = found or model(pk=pk)
    for name, value in fields.items():
        setattr(row, name, value)
    row.full_clean(validate_unique=found is None)
    row.save()
