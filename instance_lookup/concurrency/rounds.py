"""What many threads want to know at the same moment, found out once for all who wait."""

from __future__ import annotations

from threading import Lock, get_ident
from typing import TYPE_CHECKING, Generic, TypeVar

from instance_lookup.concurrency.forks import Guarded

if TYPE_CHECKING:
    from collections.abc import Callable

V = TypeVar("V")

_PATIENCE = 0.25
"""Seconds to wait for another thread: it may hang, and a read takes some milliseconds."""


class _Round(Generic[V]):
    is_over = False
    value: V | None = None
    """Still ``None`` when it is over: it failed."""
    next: _Round[V] | None = None
    waiting: tuple[Lock, ...] = ()
    leader = 0
    """The thread that reads."""

    def queue(self) -> Lock:
        """Return what can be acquired once the round is over."""
        turn = Lock()
        turn.acquire()
        self.waiting += (turn,)
        return turn


class Rounds(Guarded, Generic[V]):
    """One thread reads for a key at a time; threads that come meanwhile share the next read.

    So what a thread gets was read after it asked, never before.
    """

    def get(self, key: str, read: Callable[[str], V]) -> V:
        """Return ``read(key)``, of this thread or another one. Raises what it raises."""
        mine: _Round[V] = _Round()
        if self._under_way.setdefault(key, mine) is not mine:
            if (shared := self._next(key)) is None:
                return read(key)
            mine = shared
            if mine.is_over:  # another thread led it
                return read(key) if mine.value is None else mine.value
        try:
            mine.leader = get_ident()
            value = mine.value = read(key)
            return value
        finally:
            self._end(key, mine)

    def _next(self, key: str) -> _Round[V] | None:
        """Return the next round, when it is over or ours to lead; ``None``: read alone."""
        with self._lock:
            mine: _Round[V] = _Round()
            now = self._under_way.setdefault(key, mine)
            if now is mine:
                return mine
            if now.leader == get_ident():  # as where reading logs, and logging reads
                return None
            if leads := now.next is None or now.next.is_over:
                now.next = mine
            else:
                mine = now.next
            turn = (now if leads else mine).queue()
        try:
            in_time = turn.acquire(timeout=_PATIENCE)
        except BaseException:
            if leads:  # then no thread does
                self._end(key, mine)
            raise
        if in_time:
            return mine
        if not leads:
            return None
        with self._lock:
            now.next = None
            if self._under_way.get(key) is now:
                self._under_way[key] = mine  # which overtakes
        return mine

    def _end(self, key: str, mine: _Round[V]) -> None:
        with self._lock:
            mine.is_over = True
            # Else the next one has overtaken this, or this is the child of a fork.
            following, mine.next = mine.next, None
            if self._under_way.get(key) is mine:
                if following is None or following.is_over:
                    del self._under_way[key]
                else:
                    self._under_way[key] = following
        for turn in mine.waiting:
            turn.release()

    def _start_anew(self) -> None:
        super()._start_anew()
        self._under_way: dict[str, _Round[V]] = {}
