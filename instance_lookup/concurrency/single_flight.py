"""One fetch for all callers that need the same thing at the same time."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from instance_lookup.concurrency.forks import StartsAnew, check
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
        """Run the work on ``pool``.

        A flight that has not ended after ``longest`` seconds is overdue: the next caller begins
        another one, and calls ``overdue``.
        """
        self._pool = pool
        self._longest = longest
        self._overdue = overdue
        super().__init__()

    def join(self, key: Hashable, work: Callable[[], V]) -> Flight[V]:
        """Return the flight for ``key``; begin one that runs ``work`` if there is none.

        ``key`` is what two callers must have in common to share a flight; ``work`` runs on the
        pool, once. Raises ``RuntimeError`` where the process can start no more threads.
        """
        check()
        board = self._board
        # The lock makes "there is none" and "begin one" one step: of callers that come together
        # one begins, the others join. It is not held while ``work`` runs.
        with board.lock:
            flight: Flight[V] | None = board.flights.get(key)
            is_overdue = flight is not None and monotonic() > flight.began + self._longest
            if flight is not None and not is_overdue:
                return flight
            flight = Flight(Future(), monotonic())
            # Running from the start: a pending future would be cancelled, for all, by the first
            # caller that stops waiting.
            flight.future.set_running_or_notify_cancel()
            # Work that ends at once waits in ``_leave`` for the lock, so the flight is on the
            # board by then. If the pool refuses, nothing is on the board.
            job = self._pool.submit(_fly, board, key, flight, work)
            board.flights[key] = flight
        # For a job that fails before it comes to the work. Outside the lock: the job may have
        # ended already, then ``_land`` runs here and takes the lock. ``overdue`` writes logs.
        job.add_done_callback(partial(_land, board, key, flight))
        if is_overdue:
            self._overdue()
        return flight

    def _start_anew(self) -> None:
        self._board = _Board()


class _Board:
    """The flights of one process. A forked child has none: no thread of it runs the parent's."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.flights: dict[Hashable, Flight[Any]] = {}


def _fly(board: _Board, key: Hashable, flight: Flight[V], work: Callable[[], V]) -> None:
    # Off the board first, then the result: a caller that finds a flight on the board gets an answer
    # that was not there yet when the caller came.
    try:
        result = work()
    except BaseException as exc:  # noqa: BLE001  # the waiting callers get it
        _leave(board, key, flight)
        flight.future.set_exception(passable(exc))
    else:
        _leave(board, key, flight)
        flight.future.set_result(result)


def _leave(board: _Board, key: Hashable, flight: Flight[Any]) -> None:
    with board.lock:
        if board.flights.get(key) is flight:  # an overdue flight has been replaced
            del board.flights[key]


def _land(board: _Board, key: Hashable, flight: Flight[Any], job: Future[None]) -> None:
    if (exc := job.exception()) and not flight.future.done():  # else it failed after the work
        _leave(board, key, flight)
        flight.future.set_exception(passable(exc))
