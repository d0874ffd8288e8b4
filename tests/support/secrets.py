"""One secret for each place that holds one, and a search for them, however they are spelled."""

from __future__ import annotations

import base64
import codecs
import hashlib
import re
from functools import cache
from urllib.parse import unquote_to_bytes

NAMES = (
    "api key",
    "worker user",
    "worker password",
    "worker query",
    "own field",
    "own mapping",
    "own metadata",
    "unknown field",
    "token",
    "proxy user",
    "proxy password",
    "url user",
    "url password",
    "encryption key",
    "webhook secret",
)
_KEYS = ("encryption key", "webhook secret")
SHORTEST = 8
"""A part of a secret of so many characters is a leak."""
_RUN = re.compile(rf"[a-z0-9+/=_-]{{{SHORTEST},}}")
_ESCAPED = re.compile(r"\\+(?:u00|x)([0-9a-f]{2})")


@cache
def secret(name: str) -> str:
    """Return the secret of this name: letters and digits, so that no escape changes them."""
    assert name in NAMES
    return base64.b32encode(hashlib.sha256(name.encode()).digest()[:20]).decode()


@cache
def key_bytes(name: str) -> bytes:
    """Return 32 bytes whose URL-safe base64 is the secret that :func:`leaks` looks for."""
    return hashlib.sha256(f"key {name}".encode()).digest()


def leaks(text: str) -> list[str]:
    """Return which secrets a text shows: whole or a part, and how they are spelled.

    Plain in any case, escaped as in URLs and JSON, backwards, as hex digits, within base64, and the
    bytes of a key as ``repr`` shows them.
    """
    plain = text.lower()
    unescaped = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), plain)
    unescaped = f"{unescaped} {unquote_to_bytes(text).decode('latin-1')}".lower()
    raw = [name for name in _KEYS if any(part in unescaped for part in _raw_parts(name))]
    plain, unescaped = _words(plain), _words(unescaped)
    return [f"{name}, as bytes" for name in raw] + [
        f"{name}, {spelled}"
        for name in NAMES
        for spelled, needles in _needles(name).items()
        if any(needle in (unescaped if spelled == "escaped" else plain) for needle in needles)
    ]


@cache
def _raw_parts(name: str) -> list[str]:
    return _parts(key_bytes(name).decode("latin-1"))


def _words(text: str) -> str:
    """Return, each once, the runs of letters that a secret can be in: pages repeat themselves."""
    return "\n".join(set(_RUN.findall(text)))


@cache
def _needles(name: str) -> dict[str, list[str]]:
    """Return, for each spelling, texts of which each leak in it has at least one."""
    values = [secret(name).encode()]
    if name in _KEYS:
        values = [base64.urlsafe_b64encode(key_bytes(name)), base64.b64encode(key_bytes(name))]
    plain = [part for value in values for part in _parts(value.decode().rstrip("="))]
    codes = [codecs.encode(value, "hex").decode() for value in values]
    encoded = [base64.b64encode(bytes(shift) + value) for value in values for shift in range(3)]
    return {
        "plain": plain,
        "escaped": plain,
        "backwards": [part[::-1] for part in plain],
        "as hex": [part for code in codes for part in _parts(code, 2 * SHORTEST)],
        # The ends depend on what stands beside it.
        "as base64": [part for code in encoded for part in _parts(code.decode()[4:-4], 12)],
    }


def _parts(value: str, size: int = SHORTEST) -> list[str]:
    low = value.lower()
    return [low[start : start + size] for start in range(len(low) - size + 1)]
