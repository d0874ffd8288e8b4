from __future__ import annotations

from email.utils import formatdate

import pytest

from instance_lookup.backends.answers import decode_page, retry_after
from instance_lookup.backends.base import Page

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        ("60", 60.0),
        ("61", 60.0),
        ("9" * 5000, 60.0),
        (formatdate(NOW + 20, usegmt=True), 20.0),
        (formatdate(NOW + 86_400, usegmt=True), 60.0),
        (formatdate(NOW - 20, usegmt=True), 0.0),
        ("-3", None),
        ("1.5", None),
        ("²", None),
        ("soon", None),
        ("", None),
        ("Wed, 40 Mar 99999 99:99:99 GMT", None),
        ("Wed, 21 Oct 999999999999999999 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    """RFC 9110, 10.2.3, at most a minute; nonsense is as good as nothing."""
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("body", "page"),
    [
        (b'{"instances": [], "next": null}', Page((), None)),
        (b'{"instances": ["a", "b"]}', Page(("a", "b"), None)),
        (b'{"instances": [{"instance_id": "a", "r2_bucket": "x"}, "b"]}', Page(("a", "b"), None)),
        (b'{"instances": ["a"], "next": "c2", "total": 9}', Page(("a",), "c2")),
        (b'{"instances": ["a"], "next": ""}', Page(("a",), None)),
    ],
)
def test_page_takes_ids_and_objects(body: bytes, page: Page) -> None:
    """An item is an id, or an object that has one."""
    assert decode_page(body, None) == page


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"instances": "a"}',
        b'{"instances": [1]}',
        b'{"instances": [""]}',
        b'{"instances": [{}]}',
        b'{"instances": ["\xff"]}',
        b'{"instances": ["a"], "next": 3}',
        b'{"more": ' + b"[" * 100_000,
    ],
)
def test_page_of_another_shape_is_refused(body: bytes) -> None:
    """A page of another shape is refused as a whole."""
    assert decode_page(body, None) is None


def test_page_that_leads_to_itself_is_refused() -> None:
    """A service that ignores the cursor would be paged through for ever."""
    assert decode_page(b'{"instances": ["a"], "next": "c2"}', "c2") is None
