"""The outbox: every change of what the service answers, and who has been told of it.

A change is written in the transaction that makes it: both are stored, or neither. What is promised:

* At least once. A change is sent until the receiver takes it, or for a day. One that is sent twice
  has the same ``webhook-id`` both times.
* In order, for one instance or project and one receiver: a change is not sent while an earlier one
  waits. A receiver may see an earlier one again, and late, after it was slow to answer. Since a
  change says only *that* something changed, all that costs is one more look at the service.
* Nothing else: changes of two instances may overtake each other.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from secrets import token_urlsafe
from threading import Condition
from typing import ClassVar, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

GIVE_UP: Final = timedelta(days=1)
KEEP: Final = timedelta(days=2)
"""How long changes are kept, for listeners that come back and for people who look."""


class Bell:
    """Wakes the threads of this process that wait for a change; others have to look themselves."""

    def __init__(self) -> None:
        self._condition = Condition()
        self.rung = 0

    def ring(self) -> None:
        with self._condition:
            self.rung += 1
            self._condition.notify_all()

    def wait(self, heard: int, seconds: float) -> None:
        """Wait for the next ring; not at all if it has rung since ``rung`` was ``heard``."""
        with self._condition:
            self._condition.wait_for(lambda: self.rung != heard, seconds)


bell: Final = Bell()


def new_webhook_id() -> str:
    # Random: numbers would begin again with a new database, and receivers remember them.
    return f"msg_{token_urlsafe(18)}"


class Change(models.Model):
    """Something that changed. The key is its number in ``/stream``.

    SQLite writes one transaction after the other, so numbers show in the order of the commits, and
    Django has it use none twice. Elsewhere a lower number may show after a higher one was read.
    """

    objects: ClassVar[models.Manager[Change]]

    webhook_id = models.CharField(max_length=64, unique=True, default=new_webhook_id)
    kind = models.CharField(max_length=16)
    verb = models.CharField(max_length=16)
    subject_id = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ("-pk",)
        indexes = (models.Index(fields=["kind", "subject_id"], name="change_subject"),)

    def __str__(self) -> str:
        return f"{self.type} {self.subject_id}"

    @property
    def type(self) -> str:
        return f"{self.kind}.{self.verb}"

    def body(self) -> str:
        """Return the JSON that is sent: the same bytes each time."""
        moment = self.created_at.astimezone(UTC).replace(microsecond=0, tzinfo=None)
        data = {f"{self.kind}_id": self.subject_id}
        return json.dumps({"type": self.type, "timestamp": f"{moment.isoformat()}Z", "data": data})


class Receiver(models.Model):
    """An address that is told of changes. Those of the setting ``WEBHOOKS`` are."""

    objects: ClassVar[models.Manager[Receiver]]

    url = models.CharField("URL", max_length=500, primary_key=True)
    failures = models.PositiveIntegerField(default=0, help_text="In a row; 0: it takes changes.")
    paused_until = models.DateTimeField(null=True)

    def __str__(self) -> str:
        """Return the address without what may be a password or a token."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


WAITING: Final = Q(delivered_at=None, given_up_at=None)


class Delivery(models.Model):
    """One change on its way to one receiver."""

    objects: ClassVar[models.Manager[Delivery]]
    receiver_id: str

    change = models.ForeignKey(Change, on_delete=models.CASCADE)
    receiver = models.ForeignKey(Receiver, on_delete=models.CASCADE)
    attempts = models.PositiveIntegerField(default=0)
    next_try = models.DateTimeField(help_text="While it is being sent: when it counts as lost.")
    last_error = models.CharField(max_length=200, blank=True)
    delivered_at = models.DateTimeField(null=True)
    given_up_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ("-change_id",)
        indexes = (
            models.Index(
                fields=["receiver", "next_try"],
                name="delivery_waiting",
                condition=WAITING,
            ),
        )

    def __str__(self) -> str:
        return f"{self.change} to {self.receiver}"


def note(kind: str, verb: str, subject_id: str) -> None:
    """Write down a change, to be sent once the transaction that makes it is committed."""
    change = Change.objects.create(kind=kind, verb=verb, subject_id=subject_id)
    for url in settings.WEBHOOKS:
        receiver, _ = Receiver.objects.get_or_create(pk=url)
        Delivery.objects.create(change=change, receiver=receiver, next_try=change.created_at)
    transaction.on_commit(bell.ring)


def claim(url: str, now: datetime, seconds: float) -> Delivery | None:
    """Take the next delivery to a receiver, for ``seconds``; ``None`` if none is due.

    A sender that has not reported by then counts as dead, and the delivery is due again. Of two
    senders that want the same one, ``attempts`` tells who was first.
    """
    if Receiver.objects.filter(pk=url, paused_until__gt=now).exists():
        return None
    waiting = Delivery.objects.filter(WAITING, receiver=url)
    earlier = waiting.filter(
        change__kind=OuterRef("change__kind"),
        change__subject_id=OuterRef("change__subject_id"),
        change_id__lt=OuterRef("change_id"),
    )
    due = waiting.filter(~Exists(earlier), next_try__lte=now).order_by("change_id")
    for delivery in due.select_related("change", "receiver")[:10]:
        mine = waiting.filter(pk=delivery.pk, attempts=delivery.attempts)
        delivery.attempts += 1
        delivery.next_try = now + timedelta(seconds=seconds)
        if mine.update(attempts=delivery.attempts, next_try=delivery.next_try):
            return delivery
    return None


def delivered(delivery: Delivery, now: datetime) -> None:
    """Note that the receiver has it."""
    with transaction.atomic():
        Delivery.objects.filter(pk=delivery.pk).update(delivered_at=now, last_error="")
        Receiver.objects.filter(pk=delivery.receiver_id).update(failures=0, paused_until=None)


def failed(delivery: Delivery, error: str, next_try: datetime, paused_until: datetime) -> None:
    """Note that the receiver has not taken it, for people and for the next try."""
    with transaction.atomic():
        # Another sender may have it by now, if this one was too slow.
        mine = Delivery.objects.filter(WAITING, pk=delivery.pk, attempts=delivery.attempts)
        mine.update(last_error=error[:200], next_try=next_try)
        Receiver.objects.filter(pk=delivery.receiver_id).update(
            failures=models.F("failures") + 1, paused_until=paused_until
        )


def tidy(now: datetime) -> int:
    """Give up what has waited for a day, and return how many; remove what is older than two."""
    old = Delivery.objects.filter(WAITING, change__created_at__lt=now - GIVE_UP)
    given_up = old.update(given_up_at=now)
    Change.objects.filter(created_at__lt=now - KEEP).delete()
    return given_up
