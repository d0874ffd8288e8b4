"""Sends an API key with a request, and shows it to no one else."""

from __future__ import annotations

import re
from typing import Any, Never, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from instance_lookup.frozen import MASK, SecretBytes, SecretText

_SENDABLE = re.compile(r"[!-~]+(?: +[!-~]+)*").fullmatch
_PORTS = {"http": 80, "https": 443}


class Request(Protocol):
    """What requests of ``requests`` and ``httpx`` have in common."""

    url: Any
    headers: Any


R = TypeVar("R", bound=Request)


class _Unpickled:
    """Copies are whole. In a pickle, such as that of a client's response, there is no value."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self


class Credential(_Unpickled, SecretText):
    """The value of a header; what an HTTP client encodes hides itself as well."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> CredentialBytes:
        """Return the value as it goes into a request."""
        return CredentialBytes(super().encode(encoding, errors))

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (MASK,)


class CredentialBytes(_Unpickled, SecretBytes):
    """The value of a header, encoded; what an HTTP client decodes to show it hides itself."""

    __slots__ = ()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> Credential:
        """Return the value as a hook of a client reads it."""
        return Credential(super().decode(encoding, errors))

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (MASK.encode(),)


class Bearer:
    """Adds ``Authorization: Bearer <key>`` to a request: ``auth=config.bearer("render")``.

    It is for ``requests`` and ``httpx``, sync and async. The first request says where the key goes:
    a request to another scheme, host or port raises ``ValueError``. Both clients drop the header
    themselves when a redirect leads elsewhere.
    """

    __slots__ = ("_key", "_origins", "_what")

    def __init__(self, what: str, key: SecretText) -> None:
        """Raise ``ValueError`` for a key that a header cannot carry. ``what`` names the key."""
        self._what = what  # first: a traceback may show this object as it is when the next raises
        if not _SENDABLE(key):
            raise ValueError(
                f"{what} cannot be sent: it is blank, or holds a line break or another character"
                " that is not printable ASCII."
            )
        self._key = Credential("Bearer " + key[:])
        self._origins: dict[str, str] = {}

    def __call__(self, request: R) -> R:
        """Add the header to the request of a client."""
        origin = _origin(str(request.url))
        first = self._origins.setdefault("first", origin)  # atomic: threads may share this object
        if origin != first:
            raise ValueError(f"{self._what} goes to {first} and is not sent to {origin} as well.")
        request.headers["Authorization"] = self._key
        return request

    def __repr__(self) -> str:
        return f"<Bearer: {MASK}, the {self._what}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce__(self) -> Never:
        raise TypeError(f"{self!r} cannot be pickled: the pickle would be a leaked key")


def _origin(url: str) -> str:
    """Return scheme, host and port of a URL: nothing of it that may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or _PORTS.get(parts.scheme)}"
