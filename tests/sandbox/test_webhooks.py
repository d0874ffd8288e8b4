"""The reference Config Service: what a delivery looks like, and when it is tried again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from config_service.webhooks import backoff, headers, seconds
from standardwebhooks import Webhook

from tests.sandbox.receiver import OLD_SECRET, SECRET

BODY = b'{"type": "instance.updated", "data": {"instance_id": "a"}}'
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("secret", [OLD_SECRET, SECRET])
def test_signature_is_accepted_by_another_implementation(secret: str) -> None:
    """A receiver that knows one of the secrets, the old or the new, takes the delivery."""
    sent = headers([OLD_SECRET, SECRET], "msg_1", datetime.now(UTC), BODY)

    assert Webhook(secret).verify(BODY, sent)["type"] == "instance.updated"


def test_signature_is_that_of_the_standard() -> None:
    """One signature, over id, time in whole seconds and body."""
    sent = headers([SECRET], "msg_1", NOON.replace(microsecond=999_999), BODY)

    assert sent["webhook-timestamp"] == str(int(NOON.timestamp()))
    assert sent["webhook-signature"] == Webhook(SECRET).sign("msg_1", NOON, BODY.decode())


@pytest.mark.parametrize(("failures", "longest"), [(1, 1), (2, 2), (6, 32), (7, 60), (10_000, 60)])
def test_backoff_doubles_up_to_a_minute_and_scatters(failures: int, longest: float) -> None:
    """Each wait is twice the last one, a minute at most, and no two are alike."""
    waits = {backoff(failures) for _ in range(50)}

    assert len(waits) > 1
    assert longest / 2 <= min(waits) <= max(waits) <= longest


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", 0),
        ("7", 7),
        ("Sat, 31 Jan 2026 12:01:00 GMT", 60),
        ("Sat, 31 Jan 2026 12:01:00 -0000", 60),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0),
        ("-5", 0),
        ("soon", 0),
        ("٣", 0),
        ("9" * 400, 3600),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str, expected: float) -> None:
    """Seconds and dates are understood, an hour at most; what makes no sense asks for nothing."""
    assert seconds(value, NOON) == expected
