"""Between an entry's JSON and the text in the cache: compression and encryption, both optional.

Values stay text: every Django cache backend and every serializer of theirs takes that.
"""

from __future__ import annotations

import binascii
import pickle
import zlib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

from instance_lookup.frozen import SecretText

if TYPE_CHECKING:
    from instance_lookup.cache.encryption import Encryption
    from instance_lookup.conf import Settings

_COMPRESSED = b"z:"
_ENVELOPE = 65_536
"""Room for what an entry holds beside the document."""
UNREADABLE = (
    *(ValueError, TypeError, LookupError, AttributeError, ImportError, EOFError),
    *(OverflowError, MemoryError, pickle.PickleError, zlib.error),
)
"""What serializers raise on a value that something else wrote; a failing server raises others."""


class Codec:
    """Encodes and decodes cached values as the settings say."""

    def __init__(self, settings: Settings) -> None:
        self._compress_above = settings.compress_above
        self._max_bytes = settings.config_service_max_bytes + _ENVELOPE
        self._encryption = _encryption(settings.encryption_keys)

    def encode(self, packed: bytes) -> str:
        """Return the text to store for JSON: sealed, or such that its ``repr`` does not show it."""
        if self._compress_above is not None and len(packed.decode()) > self._compress_above:
            packed = _COMPRESSED + b64encode(zlib.compress(packed))
        return self._encryption.encrypt(packed) if self._encryption else SecretText(packed.decode())

    def decode(self, stored: object) -> str | bytes:
        """Return the text of a stored value. Raise ``ValueError`` for what we did not store.

        With encryption on, plain entries are refused: any writer to the cache could forge them.
        """
        if self._encryption is None and type(stored) is str and stored[:1] == "{":
            return stored
        if not isinstance(stored, str | bytes):
            raise ValueError(f"a cached {type(stored).__name__}, not text")
        if self._encryption:
            stored = self._encryption.decrypt(stored)
        head = stored[:2].encode() if isinstance(stored, str) else stored[:2]
        return self._decompress(stored[2:]) if head == _COMPRESSED else stored

    def _decompress(self, packed: str | bytes) -> bytes:
        try:
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(b64decode(packed, validate=True), self._max_bytes)
        except (zlib.error, binascii.Error) as exc:
            raise ValueError(f"a damaged compressed entry: {exc}") from None
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise ValueError("a compressed entry that is cut off or too large")
        return data


def _encryption(keys: tuple[str, ...]) -> Encryption | None:
    if not keys:
        return None
    try:
        from instance_lookup.cache.encryption import Encryption  # noqa: PLC0415  # an optional dependency
    except ImportError as exc:
        raise ImproperlyConfigured(
            "ENCRYPTION_KEYS needs cryptography: install the extra instance-lookup[encryption]."
        ) from exc
    return Encryption(keys)
