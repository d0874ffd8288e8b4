"""Cursors of the listing: the last id of the page before, made opaque.

A cursor names an id and not a row number, so a page neither repeats nor skips an instance when
others come or go, and the cursor of a deleted instance still works.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from config_service.validators import ID_PATTERN

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000


def encode_cursor(last_id: str) -> str:
    """Make the cursor of the page after ``last_id``."""
    return base64.urlsafe_b64encode(f"after:{last_id}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """Return the id that the page comes after; ``ValueError`` for what this service never made."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeError) as exc:
        raise ValueError("not base64 text") from exc
    last_id = text.removeprefix("after:")
    # Encoding it back catches the characters that the decoder leaves out without a word.
    if not re.fullmatch(ID_PATTERN, last_id) or encode_cursor(last_id) != cursor:
        raise ValueError("not a cursor of this service")
    return last_id


def parse_limit(text: str) -> int:
    """Return the size of a page; ``ValueError`` unless it is 1 to ``MAX_LIMIT``."""
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise ValueError(f"not a whole number from 1 to {MAX_LIMIT}")
    return int(text)
