"""A serializer for the cache alias: what this app stores is text, so nothing needs pickle.

With pickle, the default of both Redis backends, who can write to Redis can run code in the site.
"""

from __future__ import annotations

from typing import Any


class BytesSerializer:
    """Text to UTF-8 bytes and back to text; takes nothing else.

    For ``OPTIONS``: ``"SERIALIZER"`` of django-redis, ``"serializer"`` of Django's own backend.
    """

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        """Take, and ignore, the options that django-redis hands over."""

    def dumps(self, value: object) -> bytes:
        """Return the text ``value`` as UTF-8."""
        if isinstance(value, str):
            return value.encode()
        raise TypeError(f"BytesSerializer stores text only, not {type(value).__name__}")

    def loads(self, data: bytes) -> str:
        """Return the text that ``data`` is. Raise ``ValueError`` where it is none."""
        return data.decode()
