"""Reads that several threads or coroutines need at the same moment, done once."""

from __future__ import annotations

from asyncio import get_running_loop, shield
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Generic, TypeVar

from instance_lookup.concurrency.forks import Guarded
from instance_lookup.concurrency.pools import event_loops
from instance_lookup.concurrency.threads import passable

V = TypeVar("V")

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from asyncio import Future as Awaited
    from concurrent.futures import Future

    Wanted = dict[str, Awaited[V]]

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


class CoalescedReads(Guarded, Generic[V]):
    """One thread reads for a key at a time; threads that come meanwhile share the next read.

    So what a thread gets was read after it asked, never before.

    A thread that comes alone takes no lock: ``dict.setdefault`` is one step, so of threads that
    come together exactly one reads. All else is done under the lock: a round that ends and a thread
    that joins the next one must not pass each other, or the thread would wait for a turn that
    nothing releases. No lock is held while a thread reads.
    """

    def get(self, key: str, read: Callable[[str], V]) -> V:
        """Return ``read(key)``, by this thread or another one. Raises what ``read`` raises."""
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
            if leads:  # then no thread leads it
                self._end(key, mine)
            raise
        if in_time:
            return mine
        if not leads:
            return None
        with self._lock:
            now.next = None
            if self._under_way.get(key) is now:
                self._under_way[key] = mine  # overtakes the one that hangs
        return mine

    def _end(self, key: str, mine: _Round[V]) -> None:
        with self._lock:
            mine.is_over = True
            # Otherwise the next round has overtaken this one, or this is a forked child.
            following, mine.next = mine.next, None
            if self._under_way.get(key) is mine:
                if following is None or following.is_over:
                    del self._under_way[key]
                else:
                    self._under_way[key] = following
        for turn in mine.waiting:
            turn.release()

    def _start_over(self) -> None:
        super()._start_over()
        self._under_way: dict[str, _Round[V]] = {}


Find = Callable[[Collection[str]], Mapping[str, V]]

_LARGEST = 64
"""Keys of one look: all of them are decoded before the first is delivered."""


class BatchedReads(Generic[V]):
    """The keys that the coroutines of an event loop ask for, until one look for all starts."""

    def __init__(self) -> None:
        self._next: dict[AbstractEventLoop, _Batch[V]] = {}

    async def get(self, key: str, find: Find[V], read: Callable[[str], V]) -> V:
        """Return the value of a key, looked up from now on. Raises what ``read`` raises.

        ``find`` returns what it can of many keys, ``read`` the value of any single one. Both run in
        a thread, and may block. They are passed with each call: kept here, they would make a
        reference cycle with the owner. No lock: only the loop's own thread uses its batch.
        """
        loop = get_running_loop()
        mine = self._next.get(loop)
        if mine is None:
            # First this, which may raise: others must not join a batch that never sets off. It
            # runs after all coroutines that are ready now, so these can join.
            loop.call_soon(self._set_off, loop)
            mine = self._next[loop] = _Batch(loop, find, read)
        return await shield(mine.want(key))  # a cancelled caller ends nothing for the others

    def _set_off(self, loop: AbstractEventLoop) -> None:
        if mine := self._next.pop(loop, None):
            mine.set_off()


class _Batch(Generic[V]):
    """The keys of one look, in one event loop."""

    def __init__(self, loop: AbstractEventLoop, find: Find[V], read: Callable[[str], V]) -> None:
        self._loop = loop
        self._find = find
        self._read = read
        self._wanted: Wanted[V] = {}

    def want(self, key: str) -> Awaited[V]:
        if (future := self._wanted.get(key)) is None:
            future = self._wanted[key] = self._loop.create_future()
        return future

    def set_off(self) -> None:
        wanted = iter(self._wanted.items())
        while some := dict(islice(wanted, _LARGEST)):
            self._send(some)

    def _send(self, wanted: Wanted[V]) -> None:
        try:
            job = event_loops.submit(self._find if len(wanted) > 1 else self._read_one, wanted)
        except RuntimeError as exc:  # the system has no more threads to give
            for future in wanted.values():
                _fail(future, exc)
        else:
            job.add_done_callback(partial(self._return, wanted))

    def _read_one(self, keys: Collection[str]) -> dict[str, V]:
        return {key: self._read(key) for key in keys}

    def _return(self, wanted: Wanted[V], job: Future[Mapping[str, V]]) -> None:
        with suppress(RuntimeError):  # the loop is closed, and no coroutine waits
            self._loop.call_soon_threadsafe(self._deliver, wanted, job)

    def _deliver(self, wanted: Wanted[V], job: Future[Mapping[str, V]]) -> None:
        error = job.exception()
        found = job.result() if error is None else {}
        for key, future in wanted.items():
            if key in found:
                future.set_result(found[key])
            elif error is not None and len(wanted) == 1:
                _fail(future, passable(error))
            else:
                self._send({key: future})


def _fail(future: Awaited[V], error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # read once, or asyncio logs it when no coroutine waits any more
