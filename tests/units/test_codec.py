from __future__ import annotations

import sys
import zlib
from base64 import b64encode
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given, settings
from hypothesis import strategies as st

from instance_lookup.cache.codec import Codec
from instance_lookup.conf import build_settings

# No time limit an example: the machine may be busy with other things.
unhurried = settings(deadline=None)


OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
KEY = "instance_config:acme"
TEXT = '{"api_keys": {"a": "sk-SECRET"}, "é": "' + "x" * 500 + '"}'

PLAIN: dict[str, Any] = {}
PACKED = {"compress_above": 100}
SEALED = {"encryption_keys": [NEW]}
KINDS = [PLAIN, PACKED, SEALED, {**PACKED, **SEALED}]


def codec(**options: Any) -> Codec:
    return Codec(build_settings(options))


def compressed(data: bytes, level: int = 9) -> str:
    return "z:" + b64encode(zlib.compress(data, level)).decode()


def text_of(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("text", ["", "short", TEXT, "é" * 200])
def test_decode_gives_back_what_was_encoded(options: dict[str, Any], text: str) -> None:
    """Encoding and decoding give back the value, with each combination of options."""
    stored = codec(**options).encode(text.encode(), KEY)
    assert isinstance(stored, str)
    assert text_of(codec(**options).decode(stored, KEY)) == text
    assert text_of(codec(**options).decode(stored.encode(), KEY)) == text


def test_plain_is_stored_as_it_is() -> None:
    """Without encryption and compression the cache holds readable JSON."""
    assert codec().encode(TEXT.encode(), KEY) == TEXT


@pytest.mark.parametrize(("length", "packs"), [(99, False), (100, False), (101, True)])
def test_compress_above(length: int, packs: bool) -> None:
    """Longer values than `COMPRESS_ABOVE` are compressed, others are not."""
    stored = codec(**PACKED).encode(b"x" * length, KEY)
    assert isinstance(stored, str)
    assert stored.startswith("z:") is packs
    assert (len(stored) < length) is packs


def test_compressed_is_read_with_the_option_off() -> None:
    """A release that turns compression off reads what the last one wrote."""
    assert text_of(codec().decode(codec(**PACKED).encode(TEXT.encode(), KEY), KEY)) == TEXT


@pytest.mark.parametrize("options", [SEALED, {**PACKED, **SEALED}])
def test_encrypted_holds_no_key(options: dict[str, Any]) -> None:
    """An encrypted value shows nothing, and the same text is stored differently each time."""
    first, second = (codec(**options).encode(TEXT.encode(), KEY) for _ in range(2))
    assert "sk-SECRET" not in first
    assert first != second


def test_rotation_of_keys() -> None:
    """The first key encrypts, later ones still decrypt, and a removed one does not."""
    before, between = codec(encryption_keys=[OLD]), codec(encryption_keys=[NEW, OLD])
    after = codec(encryption_keys=[NEW])
    stored = before.encode(TEXT.encode(), KEY)
    assert text_of(between.decode(stored, KEY)) == TEXT
    assert text_of(after.decode(between.encode(TEXT.encode(), KEY), KEY)) == TEXT
    with pytest.raises(ValueError, match="not sealed with ENCRYPTION_KEYS"):
        after.decode(stored, KEY)


@pytest.mark.parametrize(
    "stored", [TEXT, TEXT.encode(), compressed(TEXT.encode()), "", "é", b"\xff"]
)
def test_plain_is_refused_with_encryption_on(stored: str | bytes) -> None:
    """With encryption on, plain text is refused: a writer without a key must not forge entries."""
    with pytest.raises(ValueError, match="not sealed with ENCRYPTION_KEYS"):
        codec(**SEALED).decode(stored, KEY)


def test_encrypted_is_not_read_with_encryption_off() -> None:
    """With encryption off, an encrypted value stays the text it is, which is no entry."""
    stored = codec(**SEALED).encode(TEXT.encode(), KEY)
    assert codec().decode(stored, KEY) == stored


@pytest.mark.parametrize("options", [PLAIN, SEALED])
@pytest.mark.parametrize("stored", [None, 5, True, 1.5, ["x"], {"v": 1}, object(), bytearray(b"x")])
def test_what_is_not_text_is_refused(options: dict[str, Any], stored: object) -> None:
    """A value that is no text is refused: it may be a pickle."""
    with pytest.raises(ValueError, match=f"a cached {type(stored).__name__}, not text"):
        codec(**options).decode(stored, KEY)


@pytest.mark.parametrize(
    "stored",
    [
        *["z:", "z:!!!", "z:é", "z:AAAA", b"z:\xff", "z:" + b64encode(b"no zlib").decode(), "z:A"],
        compressed(TEXT.encode())[:-8],
        compressed(TEXT.encode())[:30],
        "z:" + b64encode(zlib.compress(TEXT.encode())[:-4]).decode(),
        "z:" + b64encode(b"\0" + zlib.compress(TEXT.encode())).decode(),
        "\ud800",
    ],
)
def test_damaged_entry_is_refused(stored: str | bytes) -> None:
    """A damaged value raises one kind of error."""
    with pytest.raises(ValueError, match=r"compressed entry|ASCII|surrogates"):
        codec().decode(stored, KEY)


@pytest.mark.parametrize(
    "size", [10**6 + 65_536, 10**6 + 65_537, pytest.param(200 * 2**20, marks=pytest.mark.full)]
)
def test_decompression_bomb(size: int) -> None:
    """A value is decompressed up to the largest allowed size, and no further."""
    stored = compressed(b"\0" * size)
    reader = codec(config_service_max_bytes=10**6)
    if size == 10**6 + 65_536:
        assert len(reader.decode(stored, KEY)) == size
    else:
        with pytest.raises(ValueError, match="cut off or too large"):
            reader.decode(stored, KEY)


@unhurried
@given(st.binary() | st.text() | st.text().map("z:".__add__) | st.binary().map(b"z:".__add__))
def test_decode_raises_nothing_else(stored: str | bytes) -> None:
    """Decoding any stored value gives text or a `ValueError`."""
    for options in (PLAIN, SEALED):
        try:
            assert isinstance(codec(**options).decode(stored, KEY), str | bytes)
        except ValueError:
            continue


def test_encryption_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error names the extra to install."""
    monkeypatch.setitem(sys.modules, "instance_lookup.cache.encryption", None)
    with pytest.raises(ImproperlyConfigured, match=r"the extra instance-lookup\[encryption\]"):
        codec(**SEALED)
