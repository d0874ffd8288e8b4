"""Values of the release before, which wrote to Redis by the alias's serializer and compressor."""

from __future__ import annotations

import pickle
from contextlib import suppress
from io import BytesIO
from pickletools import genops
from typing import Any

_PICKLE = b"\x80"
"""How what is pickled begins, since protocol 2."""
_TEXT = {("builtins", "str"), ("__builtin__", "unicode")}
"""What ``str`` is called in a pickle, the second one up to protocol 2."""


class FormerValues:
    """Reads what an alias's own serializer wrote.

    What is pickled is read as text or not at all, so that nothing in it can run code here.
    """

    def __init__(self, holder: Any) -> None:
        """Take serializer and compressor from ``holder``, which has the alias's client."""
        self._serializer: Any = getattr(holder, "_serializer", None)
        self._compressor: Any = getattr(holder, "_compressor", None)

    def read(self, value: Any) -> object:
        """Return the text in ``value``. Raise what the serializer raises, or ``PickleError``."""
        with suppress(Exception):  # short values are not compressed; each compressor has its error
            value = self._compressor.decompress(value)
        if value[:1] == _PICKLE or _pickles(self._serializer):
            _check_memo(value)
            return _TextOnly(BytesIO(value)).load()
        return self._serializer.loads(value)


class _TextOnly(pickle.Unpickler):
    """Unpickles text and plain containers: it makes nothing of a class, and calls no function."""

    def find_class(self, module: str, name: str) -> type[str]:
        if (module, name) in _TEXT:
            return str
        raise pickle.UnpicklingError(f"{module}.{name} is no text")


def _check_memo(value: bytes) -> None:
    """Refuse a pickle that would have memory set aside for more places than it can have."""
    for opcode, argument, _ in genops(value):
        if opcode.name.endswith("PUT") and int(argument or 0) > len(value):
            raise pickle.UnpicklingError(f"place {argument} in a pickle of {len(value)} bytes")


def _pickles(serializer: object) -> bool:
    """Tell whether a serializer would unpickle what it is given."""
    names = {base.__name__ for base in type(serializer).__mro__}
    return any("Pickle" in name or name == "RedisSerializer" for name in names)
