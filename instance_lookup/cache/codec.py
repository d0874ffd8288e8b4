"""Between an entry's JSON and the text in the cache: compression and sealing, both optional.

Values stay text: every Django cache backend and every serializer of theirs takes that. On Redis,
which is spoken to at first hand, what is sealed is bytes.
"""

from __future__ import annotations

import binascii
import pickle
import zlib
from base64 import b64decode, b64encode, urlsafe_b64encode
from secrets import token_bytes
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

from instance_lookup.cache.keyvalue import key_values
from instance_lookup.frozen import SecretText

if TYPE_CHECKING:
    from instance_lookup.cache.encryption import Encryption
    from instance_lookup.conf import Settings

_COMPRESSED = b"z:"
_TEXT, _BYTES = b"gcm1t", b"gcm1b"
"""How what is sealed begins: base64, and where the cache takes them, bytes, which are read faster.
With a ``g``, which no release takes for what a serializer wrote."""
_FORMER = frozenset({"gAAAA", b"gAAAA"})
"""How what the release before encrypted begins. It is read until the next minor version."""
_ENVELOPE = 65_536
"""Room for what an entry holds beside the document."""
UNREADABLE = (
    *(ValueError, TypeError, LookupError, AttributeError, ImportError, EOFError),
    *(OverflowError, MemoryError, RecursionError, pickle.PickleError, zlib.error),
)
"""What serializers raise on a value that something else wrote; a failing server raises others."""


class Codec:
    """Encodes and decodes cached values as the settings say."""

    def __init__(self, settings: Settings) -> None:
        self._alias = settings.cache_alias
        self._compress_above = settings.compress_above
        self._max_bytes = settings.config_service_max_bytes + _ENVELOPE
        self.encryption = _encryption(settings.encryption_keys)
        """``None``: what is stored can be read and written by all who reach the cache."""

    def encode(self, packed: bytes, key: str, generation: str = "") -> str | bytes:
        """Return what to store for JSON: sealed, or such that its ``repr`` does not show it.

        ``key`` is where it is to be stored. ``generation`` is the one of an entry. What is sealed
        opens with both of them only; it names the generation.
        """
        is_long = self._compress_above is not None and len(packed.decode()) > self._compress_above
        if self.encryption is None:
            if is_long:
                packed = _COMPRESSED + b64encode(zlib.compress(packed))
            return SecretText(packed.decode())
        if is_long:
            packed = _COMPRESSED + zlib.compress(packed)
        cache = key_values[self._alias]
        head = b"%s:%s:" % (_BYTES if cache.takes_bytes else _TEXT, generation.encode())
        sealed = self.encryption.seal(packed, head + cache.place(key))
        return head + sealed if cache.takes_bytes else (head + b64encode(sealed)).decode()

    def decode(self, stored: object, key: str) -> str | bytes:
        """Return the text of the value of a key. Raise ``ValueError`` for what we did not store.

        With encryption on, plain entries are refused: any writer to the cache could forge them.
        """
        if self.encryption is not None:
            data = self._opened(self.encryption, stored, key)
            is_packed = data[:2] == _COMPRESSED
            return self._decompress(data[2:], is_text=is_former(stored)) if is_packed else data
        if type(stored) is str and stored[:1] == "{":
            return stored
        if not isinstance(stored, str | bytes):
            raise _no_text(stored)
        head = stored[:2].encode() if isinstance(stored, str) else stored[:2]
        return self._decompress(stored[2:], is_text=True) if head == _COMPRESSED else stored

    def _opened(self, encryption: Encryption, stored: object, key: str) -> bytes:
        if isinstance(stored, bytes):
            data = stored
        elif isinstance(stored, str):
            data = stored[:].encode(errors="replace")
        else:
            raise _no_text(stored)
        form, start = data[: len(_BYTES)], data.find(b":", len(_BYTES) + 1) + 1
        if form == _BYTES:
            sealed = memoryview(data)[start:]  # a copy of it would take longer than to open it
        elif form == _TEXT:
            sealed = memoryview(_from_base64(data[start:]))
        elif is_former(stored):
            return encryption.open_former(data)
        else:
            raise ValueError("not sealed with ENCRYPTION_KEYS")
        # The key in full: of caches that share ENCRYPTION_KEYS none opens another's.
        return encryption.open(sealed, data[:start] + key_values[self._alias].place(key))

    def _decompress(self, packed: str | bytes, *, is_text: bool) -> bytes:
        """Return what was compressed; ``is_text``: and then made text of."""
        try:
            data = b64decode(packed, validate=True) if is_text else packed
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(data, self._max_bytes)  # type: ignore[arg-type]
        except (zlib.error, binascii.Error) as exc:
            raise ValueError(f"a damaged compressed entry: {exc}") from None
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise ValueError("a compressed entry that is cut off or too large")
        return data


def new_encryption_key() -> str:
    """Return a random key for ``ENCRYPTION_KEYS``: 32 bytes, as ``Fernet.generate_key()`` does."""
    return urlsafe_b64encode(token_bytes(32)).decode()


def is_former(stored: object) -> bool:
    """Tell whether a value has the form in which the release before encrypted."""
    return isinstance(stored, str | bytes) and stored[:5] in _FORMER


def _no_text(stored: object) -> ValueError:
    return ValueError(f"a cached {type(stored).__name__}, not text")


def _from_base64(text: bytes) -> bytes:
    data = binascii.a2b_base64(text, strict_mode=True)
    # The last digit may have bits that count for nothing: there is one way to write them.
    if b64encode(data[-(len(data) % 3 or 3) :]) != text[-4:]:
        raise ValueError("base64 in a form that we do not write")
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
