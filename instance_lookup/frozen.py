"""Mappings that stay as they are: a config is shared by every request of the process."""

from __future__ import annotations

import re
from collections.abc import ItemsView, Mapping, ValuesView
from typing import TYPE_CHECKING, Any, Never, Self

from msgspec import Struct
from msgspec.structs import force_setattr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MASK = "********"


class FrozenDict(dict[str, Any]):
    """A ``dict`` to read only; being one, ``json.dumps`` and templates take it as it is."""

    __slots__ = ()

    def _refuse(self, *args: object, **kwargs: object) -> Never:
        raise TypeError(f"{type(self).__name__} is immutable; copy it with dict() to change it")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


class _SecretItems(ItemsView[str, Any]):
    """Shows itself by the repr of its dict, as all views of ``collections.abc`` do."""

    __slots__ = ()
    _mapping: SecretDict

    def __reversed__(self) -> Iterator[tuple[str, Any]]:
        return reversed(dict.items(self._mapping))


class _SecretValues(ValuesView[Any]):
    """Shows itself by the repr of its dict, as all views of ``collections.abc`` do."""

    __slots__ = ()
    _mapping: SecretDict

    def __reversed__(self) -> Iterator[Any]:
        return reversed(dict.values(self._mapping))


class SecretDict(FrozenDict):
    """A ``FrozenDict`` whose values show up nowhere unless they are asked for.

    What is still a mapping or a view (``copy()``, ``|``, ``items()``, ``values()``) hides them as
    well. ``dict()``, ``list()``, ``json.dumps`` and sets made of a view are plain.
    """

    __slots__ = ()

    def copy(self) -> Self:
        """Return this dict: it cannot change."""
        return self

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]  # a view all the same
        """Return a view of the pairs that does not show the values."""
        return _SecretItems(self)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """Return a view of the values that does not show them."""
        return _SecretValues(self)

    def __or__(self, other: dict[str, Any]) -> Self:  # type: ignore[override]
        merged = super().__or__(other)
        return merged if merged is NotImplemented else type(self)(merged)

    def __ror__(self, other: dict[str, Any]) -> Self:  # type: ignore[override]
        merged = super().__ror__(other)
        return merged if merged is NotImplemented else type(self)(merged)

    def shown(self) -> dict[str, Any]:
        """Return what may be seen of it."""
        return dict.fromkeys(self, MASK)

    def __repr__(self) -> str:
        return repr(self.shown())

    # Sentry shows every mapping item by item, whatever its repr, unless it has this.
    __sentry_repr__ = __repr__

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("API keys cannot be pickled: the pickle would be a leaked key")


class UrlDict(SecretDict):
    """A ``SecretDict`` of URLs that shows them without user, password, query and fragment.

    It can be pickled, and is plain in the pickle: most URLs hold no secret.
    """

    __slots__ = ()

    def shown(self) -> dict[str, Any]:
        """Return what may be seen of it."""
        pairs = dict.items(self)
        return {name: masked_url(url) if isinstance(url, str) else MASK for name, url in pairs}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


def masked_url(url: str) -> str:
    """Return a URL without its credentials."""
    # Up to the last "@" first: an unquoted "?" in a password would leave half of it before the cut.
    url = re.sub(r"^(\w[\w+.-]*://)?.*@", rf"\1{MASK}@", url, flags=re.DOTALL)
    return re.sub(r"[?#].*", f"?{MASK}", url, flags=re.DOTALL)


class SecretBytes(bytes):
    """A document with keys in it. Debug pages and error trackers show the locals of our frames."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} bytes, not shown>"

    __str__ = __sentry_repr__ = __repr__


class SecretText(str):
    """Text with keys in it, for what takes no bytes. A serializer gets it as the text that it is.

    Only ``repr``, ``str`` and ``format`` hide it; slices and ``encode`` give what is there.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} characters, not shown>"

    __str__ = __sentry_repr__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (self[:],)


def hide(value: Any) -> Any:
    """Return text or bytes such that ``repr`` does not show what is in it."""
    if isinstance(value, str):
        return SecretText(value[:])
    return SecretBytes(value) if isinstance(value, bytes) else value


def plain(value: Any) -> Any:
    """Return text such that ``repr`` shows it: the reverse of :func:`hide`, for text only."""
    return value[:] if isinstance(value, SecretText) else value


def freeze(value: Any) -> Any:
    """Return ``value`` with every mapping, list, set and struct in it made immutable."""
    if type(value) in NOTHING_TO_FREEZE:
        return value
    if freezer := _FREEZERS.get(type(value)):
        return freezer(value)
    if isinstance(value, Struct):
        return _freeze_struct(value)
    if isinstance(value, Mapping):
        return _freeze_mapping(value)
    return value


def _freeze_mapping(value: Mapping[str, Any]) -> FrozenDict:
    if NOTHING_TO_FREEZE.issuperset(map(type, value.values())):  # a fifth of the time, in C
        return FrozenDict(value)
    return FrozenDict({key: freeze(item) for key, item in value.items()})


def _freeze_list(value: list[Any] | tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(map(freeze, value))


def _freeze_struct(value: Struct) -> Struct:
    """Freeze the fields in place: the value was just decoded, and no other code holds it."""
    for field in value.__struct_fields__:
        held = getattr(value, field)
        if (frozen := freeze(held)) is not held:
            force_setattr(value, field, frozen)
    return value


NOTHING_TO_FREEZE: set[type] = {str, int, bool, float, bytes, type(None), FrozenDict, SecretDict}
"""Nearly everything there is in a config, told apart at the cost of one look."""

_FREEZERS: dict[type, Callable[[Any], Any]] = {
    dict: _freeze_mapping,
    list: _freeze_list,
    tuple: _freeze_list,
    set: frozenset,
    bytearray: bytes,
}
