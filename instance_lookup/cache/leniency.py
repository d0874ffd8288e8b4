"""Changes a document, as real services write it, so that the strict decoder reads it. All pure.

A value that is only for people or optional (a feature flag, a worker URL, a date) is left out if it
cannot be read. Everything that decides access or a limit stays as it is, and the decoder refuses it
if it is wrong.

Values stay ``Raw`` all the way, so no API key is a local variable that a debug page would show.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.inspect import (
    AnyType,
    CustomType,
    DataclassType,
    DictType,
    Field,
    IntType,
    Metadata,
    NoneType,
    RawType,
    StructType,
    Type,
    TypedDictType,
    UnionType,
    type_info,
)

from instance_lookup.types import InstanceConfig, InstanceMetadata, is_http_url

T = TypeVar("T")

_WithFields = StructType | DataclassType | TypedDictType

Rule = Callable[[Raw], Raw | None]
"""Returns what to read a value as; ``None`` leaves it out. It is never asked about ``null``."""

_NAME_SHOWN = 64
"""Characters of an entry's name in a log line: the service may send any number."""
_EXACT = 2.0**53
"""Integers below it are floats as well, without rounding."""
_WHOLE = re.compile(rb"(0|-?[1-9][0-9]*)(?:\.0+)?")

_NULL = Raw(b"null")
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_ARRAY = msgspec.json.Decoder(list[Raw])
_NUMBER = msgspec.json.Decoder(int | float)
_TEXT = msgspec.json.Decoder(str)
_MOMENT = msgspec.json.Decoder(datetime)


class LeftOut(NamedTuple):
    """A part of a document that is left out."""

    place: str
    """Where it stood: ``features['beta']``, ``metadata.created_at``."""
    is_decoration: bool
    """Whether it is for people only: a date, a name, a description."""


def decode_leniently(decoder: msgspec.json.Decoder[T], raw: Raw) -> tuple[T, tuple[LeftOut, ...]]:
    """Read what ``decoder`` refused, and say what was left out. Raise what the decoder raises."""
    walk = _Walk()
    changed = walk.value(raw, _shape(decoder))
    return decoder.decode(changed), tuple(walk.left_out)


@lru_cache(64)
def _shape(decoder: msgspec.json.Decoder[Any]) -> Type:
    return type_info(decoder.type)


class _Walk:
    """One walk through a document, along the types that it is read into."""

    def __init__(self) -> None:
        self.left_out: list[LeftOut] = []

    def value(self, raw: Raw, kind: Type, place: str = "") -> Raw:
        """Return the JSON of a value, changed where its type gives a reason to."""
        kind = _without_null(kind)
        if isinstance(kind, _WithFields) and (found := _read(_OBJECT, raw)):
            return self._fields(found, kind, place)
        if isinstance(kind, DictType) and (found := _read(_OBJECT, raw)):
            of_each = kind.value_type
            return _encode({key: self.value(each, of_each, place) for key, each in found.items()})
        item_type = getattr(kind, "item_type", None)  # of a list, a set, a tuple of any length
        if item_type and (items := _read(_ARRAY, raw)):
            return _encode([self.value(each, item_type, place) for each in items])
        return _integer(raw) if isinstance(kind, IntType) else raw

    def _fields(self, found: dict[str, Raw], kind: _WithFields, place: str) -> Raw:
        for field in kind.fields:
            if (raw := found.pop(field.encode_name, None)) is not None:
                new = self._field(raw, field, kind, place)
                found |= {} if new is None else {field.encode_name: new}
        return _encode(found)

    def _field(self, raw: Raw, field: Field, kind: _WithFields, place: str) -> Raw | None:
        """Return the JSON of a field; ``None``: it is absent, or as good as that."""
        place += field.encode_name
        if raw == _NULL:
            return raw if field.required or _takes_null(field.type) else None
        if rule := _rule(InstanceConfig, kind, field):
            return self._entries(raw, rule, place)
        if rule := _rule(InstanceMetadata, kind, field):
            new = rule(raw)
            if new is None:
                self.left_out.append(LeftOut(place, is_decoration=True))
            return new
        return self.value(raw, field.type, f"{place}.")

    def _entries(self, raw: Raw, rule: Rule, place: str) -> Raw:
        """Return a map without the entries that are ``null`` or that ``rule`` leaves out."""
        if (found := _read(_OBJECT, raw)) is None:
            return raw
        kept = {name: rule(value) for name, value in found.items() if value != _NULL}
        for name in [name for name, new in kept.items() if new is None]:
            shown = name if len(name) <= _NAME_SHOWN else f"{name[:_NAME_SHOWN]}…"
            self.left_out.append(LeftOut(f"{place}[{shown!r}]", is_decoration=False))
            del kept[name]
        return _encode(kept)


def _read(decoder: msgspec.json.Decoder[T], raw: Raw) -> T | None:
    """Return the object or array in ``raw``; ``None`` for anything else."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        return None


def _encode(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))


def _types(kind: Type) -> list[Type]:
    """Return the alternatives that a type has, as many as there are."""
    if isinstance(kind, Metadata):
        return _types(kind.type)
    if isinstance(kind, UnionType):
        return [each for one in kind.types for each in _types(one)]
    return [kind]


def _without_null(kind: Type) -> Type:
    """Return the one type for values other than ``null``; ``kind`` if there are several."""
    types = [each for each in _types(kind) if not isinstance(each, NoneType)]
    return types[0] if len(types) == 1 else kind


def _takes_null(kind: Type) -> bool:
    takers = (NoneType, AnyType, RawType, CustomType)
    return any(isinstance(each, takers) for each in _types(kind))


def _integer(raw: Raw) -> Raw:
    """Return ``60.0`` as ``60``, and anything else as it is."""
    number = _read(_NUMBER, raw)
    if isinstance(number, float) and number.is_integer() and abs(number) < _EXACT:
        return _encode(int(number))
    return raw


def _as_written(raw: Raw) -> Raw:
    return raw


def _flag(raw: Raw) -> Raw | None:
    return raw if bytes(raw) in {b"true", b"false"} else None


def _url(raw: Raw) -> Raw | None:
    text = _read(_TEXT, raw)
    return raw if text is not None and is_http_url(text) else None


def _text(raw: Raw) -> Raw | None:
    return None if _read(_TEXT, raw) is None else raw


def _id(raw: Raw) -> Raw:
    """Return a number as its decimal digits, so that ``7`` and ``7.0`` are one id.

    By its text: a float may stand for another number than the one that was written.
    """
    found = _WHOLE.fullmatch(bytes(raw))
    return _encode(found[1].decode()) if found else raw


def _moment(raw: Raw) -> Raw | None:
    """Return a date with its offset, UTC where it names none; midnight where it names no time.

    A number is none: it does not say whether it counts seconds or milliseconds.
    """
    moment = _read(_MOMENT, raw)
    if moment is None:
        try:  # reads more of ISO 8601 than RFC 3339 has
            moment = datetime.fromisoformat(_read(_TEXT, raw) or "")
        except ValueError:
            return None
    return _encode(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


_RULES: dict[type[Struct], dict[str, Rule]] = {
    InstanceConfig: {"api_keys": _as_written, "features": _flag, "worker_urls": _url},
    InstanceMetadata: {
        "name": _text,
        "description": _text,
        "owner": _id,
        "tenant_id": _id,
        "created_at": _moment,
        "updated_at": _moment,
    },
}
"""By field: what an entry of a configuration's map is read as, and what a field of its metadata."""
_OURS = {base: {field.name: field.type for field in type_info(base).fields} for base in _RULES}  # type: ignore[attr-defined]
"""The types of our own fields."""


def _rule(base: type[Struct], kind: _WithFields, field: Field) -> Rule | None:
    """Return the rule for a field of ours, unless a project's class has given it another type."""
    rule = _RULES[base].get(field.name)
    is_ours = rule and issubclass(kind.cls, base) and field.type == _OURS[base][field.name]
    return rule if is_ours else None
