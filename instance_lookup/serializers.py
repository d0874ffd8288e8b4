"""A serializer of text for cache aliases that are reached by Django's API, and so unpickle.

Redis and Valkey are spoken to past the alias's serializer: there it is not needed any more. It is
for clients that spread keys over servers. With pickle, which is their default, who can write to one
of the servers can run code in the site.
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
