"""Deliveries to the webhook, signed as the Config Service signs them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from time import time
from typing import NamedTuple
from uuid import uuid4

from instance_lookup.push.signature import sign


class WebhookDelivery(NamedTuple):
    """What is posted to the webhook."""

    body: bytes
    headers: dict[str, str]


def webhook_delivery(
    secret: str,
    event_type: str,
    *,
    delivery_id: str | None = None,
    timestamp: int | None = None,
    **data: str,
) -> WebhookDelivery:
    """Return a delivery of an event, signed with ``secret``.

    ::

        sent = webhook_delivery(SECRET, "instance.updated", instance_id="acme")
        client.post(url, sent.body, content_type="application/json", headers=sent.headers)

    ``event_type`` is such as ``"instance.updated"``, ``data`` what goes with it. ``delivery_id``
    is another one each time if it is not given; ``timestamp`` is Unix time, without it now.
    """
    delivery_id = delivery_id or f"msg_{uuid4().hex}"
    timestamp = int(time()) if timestamp is None else timestamp
    happened = datetime.fromtimestamp(timestamp, UTC).isoformat().replace("+00:00", "Z")
    event = {"type": event_type, "timestamp": happened, "data": data}
    body = json.dumps(event).encode()
    headers = {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret, delivery_id, timestamp, body),
    }
    return WebhookDelivery(body, headers)
