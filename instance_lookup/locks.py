"""Locks that a forked child does not find held by a thread that stayed behind in the parent."""

from __future__ import annotations

import os
from threading import Lock
from weakref import WeakSet


class Guarded:
    """Base of what threads share: ``with self._lock:`` around what must not be interleaved.

    The child gets another lock rather than the old one released: a thread that forks while it
    holds the lock goes on in the child, and releases there the one that it took.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        _guarded.add(self)


_guarded: WeakSet[Guarded] = WeakSet()


def _renew_locks() -> None:
    for guarded in _guarded:
        guarded._lock = Lock()  # noqa: SLF001


os.register_at_fork(after_in_child=_renew_locks)
