"""Encryption of cached values, on ``cryptography`` (extra ``encryption``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

if TYPE_CHECKING:
    from collections.abc import Sequence


class Encryption:
    """Encrypts with the first of ``keys``, decrypts with any: put a new key first to rotate."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def encrypt(self, data: bytes) -> str:
        """Return ``data`` as a token."""
        return self._fernet.encrypt(data).decode()

    def decrypt(self, token: str | bytes) -> bytes:
        """Return what was encrypted. Raise ``ValueError`` for what none of the keys made."""
        try:
            return self._fernet.decrypt(token)
        except (InvalidToken, TypeError):
            raise ValueError("not encrypted with one of ENCRYPTION_KEYS") from None
