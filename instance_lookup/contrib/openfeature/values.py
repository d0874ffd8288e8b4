"""Values of flags, as a configuration has them, and as OpenFeature wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openfeature.flag_evaluation import FlagType

if TYPE_CHECKING:
    from collections.abc import Callable

ABSENT = object()


def converted(kind: FlagType, value: Any) -> Any:
    """Return ``value`` as its ``kind``; ``ABSENT``: it is of another one.

    Numbers are JSON's, which does not tell ``60`` from ``60.0``. A boolean is none.
    """
    return _CONVERTERS[kind](value)


def _only(kind: type) -> Callable[[Any], Any]:
    # Not "isinstance": True would be the integer 1.
    return lambda value: value if type(value) is kind else ABSENT


def _integer(value: Any) -> Any:
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else ABSENT


def _float(value: Any) -> Any:
    return float(value) if type(value) in {int, float} else ABSENT


def _object(value: Any) -> Any:
    return _thawed(value) if isinstance(value, dict | tuple) else ABSENT


def _thawed(value: Any) -> Any:
    """Return a copy as JSON has it: a frozen list is a tuple, which the SDK refuses."""
    if isinstance(value, dict):
        return {key: _thawed(each) for key, each in value.items()}
    return [_thawed(each) for each in value] if isinstance(value, tuple) else value


_CONVERTERS: dict[FlagType, Callable[[Any], Any]] = {
    FlagType.BOOLEAN: _only(bool),
    FlagType.STRING: _only(str),
    FlagType.INTEGER: _integer,
    FlagType.FLOAT: _float,
    FlagType.OBJECT: _object,
}
