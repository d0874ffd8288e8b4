"""Whatever is sent: no error of the site, and no effect without a signature."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from unittest.mock import patch

from django.core.cache import cache
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instance_lookup.signals import instance_invalidated
from tests.support.webhook import NOW, OTHER, SECRET, URL, event, site

TEXT = st.text(st.characters(max_codepoint=255), max_size=60)
SENT = event("instance.deleted", timestamp=NOW)
BODIES = st.one_of(
    st.just(SENT.body),
    st.binary(max_size=100),
    st.builds(lambda at, bit: _flipped(SENT.body, at, bit), st.integers(0), st.integers(0, 7)),
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "webhook-id": st.just(SENT.headers["webhook-id"]) | TEXT,
        "webhook-timestamp": st.just(SENT.headers["webhook-timestamp"])
        | TEXT
        | st.integers().map(str),
        "webhook-signature": st.just(SENT.headers["webhook-signature"])
        | st.just(event(secret=OTHER, timestamp=NOW).headers["webhook-signature"])
        | TEXT
        | TEXT.map(lambda text: f"v1,{text}"),
        "content-length": st.integers(-5, 70_000).map(str) | TEXT,
        "x-forwarded-for": TEXT,
    },
)
TYPES = st.sampled_from([
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain; charset=nonsense",
    "",
])  # fmt: skip


def _flipped(body: bytes, at: int, bit: int) -> bytes:
    at %= len(body)
    return body[:at] + bytes([body[at] ^ 1 << bit]) + body[at + 1 :]


def _is_ours(body: bytes, headers: dict[str, str]) -> bool:
    return body == SENT.body and {**headers, **SENT.headers} == headers


@given(body=BODIES, headers=HEADERS, content_type=TYPES, source=TEXT)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_delivery(body: bytes, headers: dict[str, str], content_type: str, source: str) -> None:
    """Any body with any headers gets an answer below 500, and changes nothing unless signed."""
    heard = []

    def hear(**about: Any) -> None:
        heard.append(about["instance_id"])

    extra: dict[str, Any] = {"REMOTE_ADDR": source, "wsgi.input": BytesIO(body)}
    instance_invalidated.connect(hear)
    try:
        with site(), patch("instance_lookup.endpoints.webhook.time", return_value=NOW):
            client = Client(raise_request_exception=False)
            response = client.generic("POST", URL, body, content_type, headers=headers, **extra)
    finally:
        instance_invalidated.disconnect(hear)
        cache.clear()
    assert response.status_code < 500
    if not _is_ours(body, headers):
        assert response.status_code >= 400
        assert not heard
    elif "content-length" not in headers:
        assert (response.status_code, heard) == (204, ["acme"])
    assert SECRET.encode() not in response.content
