"""What is done to the shared cache, told to those who watch."""

from __future__ import annotations

from functools import wraps
from time import monotonic
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from instance_lookup import events
from instance_lookup.exceptions import CacheError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

P = ParamSpec("P")
T = TypeVar("T")


def _is_done(_: object) -> tuple[str]:
    return ("ok",)


def told(
    operation: str, outcomes: Callable[[Any], Iterable[str]] = _is_done
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Have each end of the decorated method told as that of an ``operation`` on the cache.

    ``outcomes`` makes of what it returns the outcome for each id. ``CacheError`` is ``"error"``.
    """

    def decorate(work: Callable[P, T]) -> Callable[P, T]:
        @wraps(work)
        def told_work(*args: P.args, **kwargs: P.kwargs) -> T:
            if not events.watchers:
                return work(*args, **kwargs)
            began = monotonic()
            try:
                result = work(*args, **kwargs)
            except CacheError:
                events.tell(events.CacheOperation(operation, "error", monotonic() - began))
                raise
            seconds = monotonic() - began
            for outcome in outcomes(result):
                events.tell(events.CacheOperation(operation, outcome, seconds))
            return result

        return told_work

    return decorate
