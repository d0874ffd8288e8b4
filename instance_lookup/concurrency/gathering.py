"""What coroutines want at the same moment, looked up together in one of our threads.

A hop to a thread and back costs about as much as a look at the cache: a hundred hops for a hundred
looks would keep the event loop from everything else.
"""

from __future__ import annotations

from asyncio import get_running_loop, shield
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

from instance_lookup.concurrency.executor import pool
from instance_lookup.concurrency.threads import passable

V = TypeVar("V")

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from asyncio import Future as Awaited
    from concurrent.futures import Future

    Wanted = dict[str, Awaited[V]]

Find = Callable[[Collection[str]], Mapping[str, V]]

_LARGEST = 64
"""Keys of one look: all that it finds is worked through before any of it is delivered."""


class Gathering(Generic[V]):
    """What the coroutines of an event loop want, until a look is on its way."""

    def __init__(self) -> None:
        self._next: dict[AbstractEventLoop, _Look[V]] = {}

    async def get(self, key: str, find: Find[V], read: Callable[[str], V]) -> V:
        """Return the value of a key, looked up from now on. Raises what ``read`` raises.

        ``find`` finds what it can of many keys, ``read`` gets any single one. Both may block. They
        are handed over each time, since the owner of a gathering would else be part of a circle.
        """
        loop = get_running_loop()
        mine = self._next.get(loop)
        if mine is None:
            # Before another can join what would never set off.
            loop.call_soon(self._set_off, loop)  # after all who are ready to run now
            mine = self._next[loop] = _Look(loop, find, read)
        return await shield(mine.want(key))  # for the others who wait for it

    def _set_off(self, loop: AbstractEventLoop) -> None:
        if mine := self._next.pop(loop, None):
            mine.set_off()


class _Look(Generic[V]):
    """What is wanted of one look, in one event loop."""

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
            job = pool.submit(self._find if len(wanted) > 1 else self._read_one, wanted)
        except RuntimeError as exc:  # the system has no more threads to give
            for future in wanted.values():
                _fail(future, exc)
        else:
            job.add_done_callback(partial(self._return, wanted))

    def _read_one(self, keys: Collection[str]) -> dict[str, V]:
        return {key: self._read(key) for key in keys}

    def _return(self, wanted: Wanted[V], job: Future[Mapping[str, V]]) -> None:
        with suppress(RuntimeError):  # the loop is closed, and none waits
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
    future.exception()  # it is no news to asyncio where all who wanted it have left
