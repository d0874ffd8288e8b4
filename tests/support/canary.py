"""Looks for an API key in all that an error holds on to."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

CANARY = "sk-canary-1b9f"


def places(error: BaseException) -> list[str]:
    """Return where the canary can be read: a tracker that shows everything would show it.

    In the errors of the whole chain, suppressed or not: their text, arguments and attributes, and
    the local variables of each frame, of other packages too.
    """
    return list(dict.fromkeys(place for one in chain(error) for place in _places(one)))


def places_here() -> list[str]:
    """Return where the canary can be read in the frames of ours that are running."""
    frames = (frame for frame, _ in traceback.walk_stack(sys._getframe()))
    ours = (frame for frame in frames if "/instance_lookup/" in frame.f_code.co_filename)
    return [place for frame in ours for place in _variables(frame)]


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, its causes and contexts, and the parts of groups."""
    waiting: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while waiting:
        one = waiting.pop()
        if one is None or any(one is each for each in seen):
            continue
        seen.append(one)
        yield one
        waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def _places(error: BaseException) -> Iterator[str]:
    name = type(error).__name__
    for what in (str(error), repr(error), error.args, vars(error)):
        if _shows(what):
            yield name
    for frame, _ in traceback.walk_tb(error.__traceback__):
        yield from (f"{name}: {place}" for place in _variables(frame))


def _variables(frame: FrameType) -> Iterator[str]:
    for variable, value in frame.f_locals.items():
        if _shows(value):
            yield f"{variable} in {Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}"


def _shows(value: object) -> bool:
    """Tell whether the canary is in the repr of a value, or of what containers hold."""
    if type(value) is str:  # a subclass may hide what it holds
        return CANARY in value
    if CANARY in repr(value):
        return True
    if isinstance(value, Mapping) and not hasattr(type(value), "__sentry_repr__"):
        return any(_shows(key) or _shows(item) for key, item in value.items())
    return isinstance(value, list | tuple | set | frozenset) and any(map(_shows, value))
