"""Whether a delivery is from the Config Service: signatures as Standard Webhooks has them.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

Not by the package ``standardwebhooks`` (1.1): it takes one secret, so there is no rotation; what is
in the headers makes it raise errors other than its own, which would be answered with 500; and it
signs a timestamp that it has read as a float, so "1e9" and "1000000000.5" count as one.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from typing import TYPE_CHECKING

from instance_lookup.conf.validators import webhook_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TOLERANCE = 300
"""Seconds by which the clock of the sender may be before or behind ours."""
_ID = re.compile(r"[!-~]{1,256}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_LONGEST = 4096
"""Characters of all signatures of a delivery, which is some eighty of them."""


class NotSigned(Exception):
    """A delivery is not known to be from the Config Service. The message holds none of it."""


def sign(secret: str, delivery_id: str, timestamp: int, body: bytes) -> str:
    """Return the header ``webhook-signature`` of a delivery.

    ``secret`` is one of ``WEBHOOK_SECRETS``, ``timestamp`` the Unix time in ``webhook-timestamp``,
    ``delivery_id`` what is in ``webhook-id``. Raises ``ValueError`` for a malformed secret.
    """
    return f"v1,{_signature(secret, f'{delivery_id}.{timestamp}.'.encode() + body)}"


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> str:
    """Return the id of a delivery that is signed with one of the ``secrets``.

    ``headers`` takes their names in any case. ``now`` is Unix time. Raises ``NotSigned``.
    """
    delivery_id = _read(headers, "webhook-id", _ID)
    timestamp = _read(headers, "webhook-timestamp", _TIMESTAMP)
    given = headers.get("webhook-signature", "")
    if not given or len(given) > _LONGEST:
        raise NotSigned("webhook-signature is missing or too long")
    if abs(off := int(timestamp) - now) > TOLERANCE:
        way = "ahead of" if off > 0 else "behind"
        raise NotSigned(f"webhook-timestamp is more than {TOLERANCE} s {way} our clock")
    # An id may hold dots, so that two deliveries could be signed as one text. Only for one of them
    # is the body, behind the last dot that counts, a JSON object.
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    if not _matches(given, [_signature(secret, signed) for secret in secrets]):
        raise NotSigned("webhook-signature matches none of WEBHOOK_SECRETS")
    return delivery_id


def _read(headers: Mapping[str, str], name: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(value := headers.get(name, "")):
        raise NotSigned(f"{name} is missing or malformed")
    return value


def _signature(secret: str, signed: bytes) -> str:
    return b64encode(hmac.digest(webhook_key(secret), signed, "sha256")).decode()


def _matches(given: str, expected: list[str]) -> bool:
    """Tell whether one of the signatures ``given`` is one of those ``expected``.

    Others than "v1", such as "v1a" of an asymmetric key, say nothing.
    """
    versions = (each.partition(",") for each in given.split(" "))
    ours = [
        signature.encode(errors="replace") for version, _, signature in versions if version == "v1"
    ]
    # A comparison takes the same time, however much of what is given is right.
    return any(hmac.compare_digest(one.encode(), each) for one in expected for each in ours)
