"""The search that all tests of leaks rest on finds what is there, and nothing else."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.support.secrets import NAMES, key_bytes, leaks, secret

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY = [name for name in NAMES if name not in {"encryption key", "webhook secret"}]
SPELLINGS: dict[str, Callable[[str], str]] = {
    "itself": lambda value: value,
    "in other case": str.lower,
    "a part at the start": lambda value: value[:8],
    "a part at the end": lambda value: value[-8:],
    "a part within": lambda value: f"…{value[5:13]}…",
    "percent-encoded": lambda value: "".join(f"%{ord(letter):02X}" for letter in value),
    "percent-encoded once": lambda value: value[:5] + f"%{ord(value[5]):02x}" + value[6:12],
    "as JSON escapes": lambda value: "".join(f"\\u{ord(letter):04x}" for letter in value),
    "as escapes within escapes": lambda value: json.dumps(
        json.dumps("".join(f"\\x{ord(letter):02x}" for letter in value))
    ),
    "backwards": lambda value: value[::-1],
    "as hex": lambda value: value.encode().hex(),
    "as base64": lambda value: base64.b64encode(value.encode()).decode(),
    "in base64 behind one letter": lambda value: base64.b64encode(f"u:{value}".encode()).decode(),
    "in base64 behind two": lambda value: base64.b64encode(f":{value}:p".encode()).decode(),
    "as a part of a URL": lambda value: f"https://u:{quote(value)}@host/?q={value}",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_search_finds_every_spelling(spelling: str) -> None:
    """A leak is found however it is spelled, and named."""
    for name in EVERY:
        found = leaks(f"before {SPELLINGS[spelling](secret(name))} after")
        assert {each.partition(",")[0] for each in found} == {name}


@pytest.mark.parametrize("encode", [base64.urlsafe_b64encode, base64.b64encode])
@pytest.mark.parametrize("name", ["encryption key", "webhook secret"])
def test_search_finds_keys(name: str, encode: object) -> None:
    """Keys, which are base64 themselves, are found in both of its alphabets."""
    text = encode(key_bytes(name)).decode()  # type: ignore[operator]
    for shown in (text, text[:8], text.encode().hex(), text[::-1]):
        assert {each.partition(",")[0] for each in leaks(f"<{shown}>")} == {name}


@pytest.mark.parametrize("name", ["encryption key", "webhook secret"])
def test_search_finds_keys_as_bytes(name: str) -> None:
    """A local variable with the bytes of a key is found, also where it is quoted once more."""
    shown = repr(key_bytes(name))
    for text in (shown, repr([shown]), json.dumps(shown)):
        assert leaks(text) == [f"{name}, as bytes"]


@pytest.mark.parametrize("text", ["", "nothing", "API key", json.dumps(NAMES), "A" * 10_000])
def test_search_finds_nothing_where_nothing_is(text: str) -> None:
    """What is no secret is none, or the search would be turned off one day."""
    assert leaks(text) == []


def test_search_does_not_take_what_is_too_short() -> None:
    """Seven characters may be there by chance."""
    assert leaks(secret("token")[:7]) == []
