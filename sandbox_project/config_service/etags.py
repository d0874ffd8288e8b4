"""Strong entity tags and ``If-None-Match`` (RFC 9110, sections 8.8.3 and 13.1.2)."""

from __future__ import annotations

import hashlib

from django.utils.http import parse_etags


def strong_etag(body: bytes) -> str:
    """Return a tag that two different bodies do not share."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def none_match(header: str | None, etag: str) -> bool:
    """Say whether ``If-None-Match`` allows the body to be sent; tags compare weakly."""
    if header is None:
        return True
    held = parse_etags(header)
    return held != ["*"] and etag not in {tag.removeprefix("W/") for tag in held}
