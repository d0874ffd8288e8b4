"""What tests see of the events."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from instance_lookup import events

if TYPE_CHECKING:
    from collections.abc import Iterator

E = TypeVar("E")


class Told(list[events.Event]):
    """The events of a test, in their order."""

    def of(self, kind: type[E]) -> list[E]:
        """Return those of one kind."""
        return [each for each in self if isinstance(each, kind)]


@contextmanager
def watching() -> Iterator[Told]:
    """Collect the events that are told in the block."""
    told = Told()
    watcher = told.append
    events.watch(watcher)
    try:
        yield told
    finally:
        events.unwatch(watcher)
