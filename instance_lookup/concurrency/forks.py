"""What a forked child builds again: it has one thread, and the locks that other threads held."""

from __future__ import annotations

import os
from threading import Lock
from weakref import WeakSet


class StartsAnew:
    """Base of what belongs to the threads of one process."""

    def __init__(self) -> None:
        self._start_anew()
        _all.add(self)

    def _start_anew(self) -> None:
        """Set what a child must not have from its parent."""


class Guarded(StartsAnew):
    """Base of what threads share: ``with self._lock:`` around what must not be interleaved.

    The child gets another lock rather than the old one released: a thread that forks while it
    holds the lock goes on in the child, and releases there the one that it took.
    """

    def _start_anew(self) -> None:
        self._lock = Lock()


_all: WeakSet[StartsAnew] = WeakSet()


def _start_all_anew() -> None:
    for one in _all:
        one._start_anew()  # noqa: SLF001


os.register_at_fork(after_in_child=_start_all_anew)
