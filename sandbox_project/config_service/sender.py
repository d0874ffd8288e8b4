"""The sender: brings the changes of the outbox to the receivers, signed by Standard Webhooks."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import timedelta
from http.client import responses
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Final

import requests
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from config_service import outbox
from config_service.outbox import Delivery, bell
from config_service.webhooks import backoff, headers, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = logging.getLogger("config_service.sender")

LOOK: Final = 0.5
"""Seconds between two looks at the outbox: for retries, and for what other processes change."""
TIDY: Final = 600.0


class Sender(Thread):
    """Sends to one receiver, so that one that is slow or away holds up nobody else."""

    def __init__(self, url: str, secrets: Sequence[str]) -> None:
        super().__init__(name="sender", daemon=True)
        self.url, self.secrets = url, secrets
        self.is_stopped = False
        self.session = requests.Session()
        # A .netrc or a proxy of the machine has no business with it.
        self.session.trust_env = False

    def run(self) -> None:
        """Send what is due, then wait for more, until ``stop``."""
        while not self.is_stopped:
            heard = bell.rung
            try:
                is_idle = not self.send_next()
            except DatabaseError:
                logger.exception("The outbox cannot be read or written; trying again.")
                is_idle = True
            if is_idle and not self.is_stopped:
                bell.wait(heard, LOOK)
        connection.close()

    def send_next(self) -> bool:
        """Send the next delivery that is due, and note what came of it; tell if there was one."""
        # Longer than it can take to send it: only a sender that is gone loses it.
        delivery = outbox.claim(self.url, timezone.now(), 2 * settings.WEBHOOK_TIMEOUT + 1)
        if delivery is None:
            return False
        started = monotonic()
        error, retry_after = self.send(delivery)
        elapsed = (monotonic() - started) * 1000
        if error:
            note_failure(delivery, error, retry_after)
        else:
            outbox.delivered(delivery, timezone.now())
            line = (delivery, elapsed, delivery.attempts, delivery.change.webhook_id)
            logger.info("Sent %s in %.1f ms, attempt %d, webhook_id=%s", *line)
        return True

    def send(self, delivery: Delivery) -> tuple[str, float]:
        """Send a change. Return what is wrong, ``""`` for nothing, and the seconds to wait."""
        body = delivery.change.body().encode()
        try:
            with self.session.post(
                self.url,
                body,
                headers=headers(self.secrets, delivery.change.webhook_id, timezone.now(), body),
                # For each read: a receiver that drips its headers keeps its own thread only.
                timeout=settings.WEBHOOK_TIMEOUT,
                allow_redirects=False,
                stream=True,  # the body of the answer means nothing
            ) as answer:
                status = answer.status_code
                retry_after = seconds(answer.headers.get("Retry-After", ""), timezone.now())
        except (requests.RequestException, ValueError) as exc:  # ValueError: no host
            # Not its message, which has the whole URL.
            return type(exc).__name__, 0
        if 200 <= status < 300:
            return "", 0
        return f"{status} {responses.get(status, '')}".strip(), retry_after

    def stop(self) -> None:
        self.is_stopped = True
        bell.ring()


def note_failure(delivery: Delivery, error: str, retry_after: float) -> None:
    """Put a delivery off, and the receiver: each for longer the more often it has failed."""
    now, receiver = timezone.now(), delivery.receiver
    pause = max(backoff(receiver.failures + 1), retry_after)
    wait = max(backoff(delivery.attempts), pause)
    next_try, resume = now + timedelta(seconds=wait), now + timedelta(seconds=pause)
    outbox.failed(delivery, error, next_try, resume)
    # Once for a receiver that is away, not once a try: the admin lists them all.
    level = logging.DEBUG if receiver.failures else logging.WARNING
    logger.log(level, "Not sent: %s (%s). The next try is in %.1f s.", delivery, error, wait)


def keep_house(over: Event) -> None:
    """Tidy up now and every ten minutes, until it is over; also where there are no receivers."""
    while True:
        try:
            tidy()
        except DatabaseError:
            logger.exception("The outbox cannot be tidied up; trying again in %d s.", TIDY)
        if over.wait(TIDY):
            break
    connection.close()


def tidy() -> None:
    """Give up what is too old, and remove what is older still."""
    if given_up := outbox.tidy(timezone.now()):
        logger.warning("Gave up %d deliveries after a day; the admin lists them.", given_up)


@contextmanager
def sending() -> Iterator[None]:
    """Send in the background, one thread for each receiver, while the block runs."""
    over = Event()
    senders = [Sender(url, secrets) for url, secrets in settings.WEBHOOKS.items()]
    threads = [*senders, Thread(target=keep_house, args=(over,), daemon=True)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for sender in senders:
            sender.stop()
        for thread in threads:
            # One that waits for a slow receiver goes with the process, and is sent again.
            thread.join(1)
