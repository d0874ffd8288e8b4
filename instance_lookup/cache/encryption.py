"""Sealing of cached values, on ``cryptography`` (extra ``encryption``).

Each key of ``ENCRYPTION_KEYS`` is used through two others, made of it by HKDF: one seals values by
AES-256-GCM, one makes the tags of generations. The first key seals, all open. A third thing made of
it is its name, which is no secret.
"""

from __future__ import annotations

import base64
import hmac
import os
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from instance_lookup.frozen import SecretBytes

if TYPE_CHECKING:
    from collections.abc import Sequence

_NONCE = 12
"""Bytes, as NIST SP 800-38D recommends. Random: hence the bound in docs/explanation/security.md."""
_TAG = 32
"""Hexadecimal digits of a generation's tag: 128 bits."""
_NAME = 16
"""Hexadecimal digits of a key's name."""
_REFUSED = "not sealed with ENCRYPTION_KEYS, or not for this place"


class Encryption:
    """Seals with the first of ``keys``, opens with any.

    What is sealed belongs to a ``place`` and opens nowhere else. It is not encrypted.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        made = [SecretBytes(base64.urlsafe_b64decode(key)) for key in keys]
        self._ciphers = [AESGCM(_derived(key, b"entries")) for key in made]
        self._tag_keys = [SecretBytes(_derived(key, b"generations")) for key in made]
        self.names = [_derived(key, b"name").hex()[:_NAME] for key in made]
        """What to call the keys where all can read it, in their order."""
        # What the release before wrote. To go with the next minor version.
        self._former = MultiFernet([Fernet(key) for key in keys])

    def seal(self, data: bytes, place: bytes) -> bytes:
        """Return ``data`` sealed for ``place``."""
        nonce = os.urandom(_NONCE)
        return nonce + self._ciphers[0].encrypt(nonce, data, place)

    def open(self, sealed: memoryview, place: bytes) -> bytes:
        """Return what was sealed. Raise ``ValueError`` for what no key sealed for ``place``."""
        nonce, data = sealed[:_NONCE], sealed[_NONCE:]
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(nonce, data, place)
            except (InvalidTag, ValueError):  # too short is a ValueError
                continue
        raise ValueError(_REFUSED)

    def open_former(self, token: bytes) -> bytes:
        """Return what the release before encrypted. Raise ``ValueError`` for anything else."""
        try:
            return self._former.decrypt(token)
        except (InvalidToken, TypeError):
            raise ValueError(_REFUSED) from None

    def tag(self, data: bytes) -> str:
        """Return the tag that proves that ``data`` is from someone with the first key."""
        return _tag(self._tag_keys[0], data)

    def key_of(self, tag: str, data: bytes) -> int | None:
        """Return the place in the list of the key that made ``tag`` for ``data``.

        ``None``: none of them did.
        """
        given = tag.encode(errors="replace")
        for place, key in enumerate(self._tag_keys):
            if hmac.compare_digest(_tag(key, data).encode(), given):
                return place
        return None


def _derived(key: bytes, use: bytes) -> bytes:
    return HKDF(SHA256(), length=32, salt=None, info=b"instance_lookup 1 " + use).derive(key)


def _tag(key: bytes, data: bytes) -> str:
    return hmac.digest(key, data, "sha256").hex()[:_TAG]
