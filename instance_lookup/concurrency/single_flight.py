"""One fetch for all who want the same thing at the same time."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from instance_lookup.concurrency.forks import StartsAnew
from instance_lookup.concurrency.threads import passable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from instance_lookup.concurrency.threads import DaemonPool

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Flight(Generic[V]):
    """A fetch under way."""

    future: Future[V]
    began: float
    """On the monotonic clock."""


class SingleFlight(StartsAnew, Generic[V]):
    """The fetches under way in this process, by what they fetch."""

    def __init__(self, pool: DaemonPool, *, longest: float, overdue: Callable[[], object]) -> None:
        """Fly for ``longest`` seconds; of those that do not land by then tell ``overdue``."""
        self._pool = pool
        self._longest = longest
        self._overdue = overdue
        super().__init__()

    def join(self, key: Hashable, work: Callable[[], V]) -> Flight[V]:
        """Return the flight for ``key``, having begun one with ``work`` if there was none.

        Raises ``RuntimeError`` where the process can start no more threads.
        """
        board = self._board
        with board.lock:
            flight: Flight[V] | None = board.flights.get(key)
            is_overdue = flight is not None and monotonic() > flight.began + self._longest
            if flight is not None and not is_overdue:
                return flight
            flight = Flight(Future(), monotonic())
            # Running from the start: a pending one is cancelled by any who stops waiting.
            flight.future.set_running_or_notify_cancel()
            job = self._pool.submit(_fly, board, key, flight, work)
            board.flights[key] = flight
        # Also where the pool fails before it comes to the work; it may have, and takes the lock.
        job.add_done_callback(partial(_land, board, key, flight))
        if is_overdue:
            self._overdue()
        return flight

    def _start_anew(self) -> None:
        self._board = _Board()


class _Board:
    """The flights of one process: in a child after a fork, nobody flies those of the parent."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.flights: dict[Hashable, Flight[Any]] = {}


def _fly(board: _Board, key: Hashable, flight: Flight[V], work: Callable[[], V]) -> None:
    try:
        result = work()
    except BaseException as exc:  # noqa: BLE001  # whoever waits gets it
        _leave(board, key, flight)
        flight.future.set_exception(passable(exc))
    else:
        _leave(board, key, flight)
        flight.future.set_result(result)


def _leave(board: _Board, key: Hashable, flight: Flight[Any]) -> None:
    with board.lock:
        if board.flights.get(key) is flight:
            del board.flights[key]


def _land(board: _Board, key: Hashable, flight: Flight[Any], job: Future[None]) -> None:
    if (exc := job.exception()) and not flight.future.done():  # else it failed after the work
        _leave(board, key, flight)
        flight.future.set_exception(passable(exc))
