"""What tests of the webhook share: a secret, its site, and a way to deliver."""

from __future__ import annotations

import logging
from base64 import b64encode
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client, override_settings

from instance_lookup import get_resolver
from instance_lookup.push.receiver import get_receiver
from instance_lookup.resilience.health import logger
from instance_lookup.testing import WebhookDelivery, webhook_delivery
from tests.support.insides import under_way
from tests.support.lookups import DOWN, acme
from tests.support.lookups import Service as Interrupted
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event

    import pytest

    from instance_lookup.backends.base import Document, NotModified, Query

KEY = b"a key for tests that is 32 bytes"
SECRET = f"whsec_{b64encode(KEY).decode()}"
OTHER = f"whsec_{b64encode(KEY[::-1]).decode()}"
URL = "/ops/webhook/"
NOW = 1_800_000_000


class Service(Interrupted):
    """A service whose "acme" a test changes; ``asked`` are the ids that it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.instances = {"acme": acme("first"), "other": acme("x", instance_id="other")}
        self.asked: list[str] = []
        self.is_down = False
        self.waits_for: Event | None = None

    def get_instance(self, instance_id: str, query: Query) -> Document | NotModified:
        self.asked.append(instance_id)
        if self.waits_for is not None:
            self.waits_for.wait(30)
        if self.is_down:
            raise DOWN
        return super().get_instance(instance_id, query)

    def change(self, bucket: str) -> None:
        self.instances = {**self.instances, "acme": acme(bucket)}


def site(alias: str = "default", service: Service | None = None, **options: Any) -> Any:
    """Return the settings of a site with a webhook, on a cache of the tests."""
    options = {
        "CONFIG_SERVICE_BACKEND": service or Service(),
        "CACHE_ALIAS": alias,
        "NEAR_CACHE_SIZE": 0,
        "WEBHOOK_SECRETS": [SECRET],
        **options,
    }
    return override_settings(ROOT_URLCONF="tests.support.urls_operations", INSTANCE_LOOKUP=options)


def event(event_type: str = "instance.updated", **options: Any) -> WebhookDelivery:
    """Return a delivery about "acme", unless another id is named."""
    if not {"instance_id", "project_id"} & options.keys():
        kind = event_type.partition(".")[0]
        options[f"{kind}_id"] = "shop" if kind == "project" else "acme"
    return webhook_delivery(options.pop("secret", SECRET), event_type, **options)


def deliver(
    sent: WebhookDelivery, *, is_async: bool = False, others: dict[str, str] | None = None
) -> Any:
    """Post a delivery with Django's client, sync or async; ``others`` are headers to change."""
    headers = {**sent.headers, **(others or {})}
    options: dict[str, Any] = {"content_type": "application/json", "headers": headers}
    if is_async:
        return async_to_sync(AsyncClient().post)(URL, sent.body, **options)
    return Client().post(URL, sent.body, **options)


def receive(sent: WebhookDelivery, *, now: float = NOW, source: str = "192.0.2.1") -> str:
    """Have the process's receiver answer at a moment; return the outcome."""
    return get_receiver().receive(sent.headers, sent.body, source=source, now=now).outcome


def refreshed() -> None:
    """Wait until nothing is fetched in the background."""
    wait_until(lambda: not under_way(get_resolver()))


@contextmanager
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Yield a list that holds, when the block has ended, what this app has logged in it."""
    with caplog.at_level(logging.INFO):
        caplog.clear()
        yield (lines := [])
        lines += [record.getMessage() for record in caplog.records if record.name == logger.name]
