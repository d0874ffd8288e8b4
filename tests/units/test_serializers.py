from __future__ import annotations

import pickle

import pytest

from instance_lookup.serializers import BytesSerializer


@pytest.mark.parametrize("text", ["", "plain", '{"é": "☃"}', "\0", "x" * 100_000])
def test_text_survives(text: str) -> None:
    """Text that is stored comes back as text."""
    data = BytesSerializer().dumps(text)
    assert data == text.encode()
    assert BytesSerializer({"django-redis": "hands over its OPTIONS"}).loads(data) == text


@pytest.mark.parametrize("value", [None, 5, True, b"bytes", ["x"], {"a": 1}, object()])
def test_other_values_are_refused(value: object) -> None:
    """A value that is no text is refused; the error names its type and not the value."""
    with pytest.raises(TypeError, match=f"stores text only, not {type(value).__name__}"):
        BytesSerializer().dumps(value)


@pytest.mark.parametrize("data", [b"\xff", pickle.dumps({"a": 1}), "é".encode("latin-1")])
def test_foreign_bytes_are_refused(data: bytes) -> None:
    """Bytes that are no text, such as a pickle, are refused."""
    with pytest.raises(ValueError, match="utf-8"):
        BytesSerializer().loads(data)
