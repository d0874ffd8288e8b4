"""What a delivery by Standard Webhooks looks like, and when to try again. It needs no Django."""

from __future__ import annotations

import hmac
import random
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_WAIT: Final = 60.0
LONGEST_RETRY_AFTER: Final = 3600.0
"""Seconds. A receiver that asks for a year would not be told of anything."""


def headers(secrets: Sequence[str], webhook_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """Return the headers of a delivery; a receiver needs to know one of the secrets."""
    timestamp = str(int(now.timestamp()))
    signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
    keys = [b64decode(secret.removeprefix("whsec_")) for secret in secrets]
    signatures = [b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys]
    return {
        "Content-Type": "application/json",
        "User-Agent": "config-service",
        # One that the receiver closes meanwhile would be a failure, and a second lost.
        "Connection": "close",
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def backoff(failures: int) -> float:
    """Return how many seconds to wait after so many failures in a row: about 1, 2, 4 … 60."""
    longest = min(LONGEST_WAIT, 2.0 ** min(failures - 1, 10))
    # Jitter, so that senders that failed together do not come back together.
    return longest * random.uniform(0.5, 1)


def seconds(retry_after: str, now: datetime) -> float:
    """Return what ``Retry-After`` asks for, a number or a date; an hour at most, 0 if nothing."""
    try:
        if retry_after.isascii() and retry_after.isdigit():
            wanted = float(retry_after)
        else:
            date = parsedate_to_datetime(retry_after)
            wanted = (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
    except (ValueError, OverflowError):
        return 0
    return min(max(wanted, 0), LONGEST_RETRY_AFTER)
