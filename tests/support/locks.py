"""A lock that another thread takes just before."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class TakenFirst:
    """Does what another thread would do under the lock, before it is taken for the first time.

    So what was read without the lock is wrong by then. Code that never takes the lock is noticed
    as well: the other thread's act is never done.
    """

    def __init__(self, deed: Callable[[], object]) -> None:
        self._lock = RLock()
        self._deeds = [deed]

    def __enter__(self) -> None:
        while self._deeds:
            self._deeds.pop()()
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()
