"""One fetch for all callers that need the same thing at the same time."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from instance_lookup.concurrency.crew import Full
from instance_lookup.concurrency.forks import PerProcess, check
from instance_lookup.concurrency.threads import passable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from instance_lookup.concurrency.threads import DaemonPool

V = TypeVar("V")


@dataclass(slots=True, eq=False, repr=False)
class Flight(Generic[V]):
    """A fetch under way."""

    group: _Group
    """All the flights for the same thing."""
    part: Hashable
    """For which part of the callers it is."""
    future: Future[V]
    began: float
    """On the monotonic clock."""
    who: Hashable
    """Who began it."""
    has_begun: bool = False
    """Whether a thread has taken it up: until then it waits for its turn, and no one is late."""
    has_landed: bool = False
    """Whether its future is settled, or about to be. Changed under the lock of its board."""

    def land(self, *, everyone: bool) -> list[Flight[V]]:
        """Leave the board, with ``everyone`` of the group; return the flights to settle.

        Looking at ``has_landed`` and setting it are one step under the lock: each future is settled
        once, though its own flight and another one that answers for it may end together.
        """
        group, board = self.group, self.group.board
        with board.lock:
            landing: list[Flight[V]] = [self]
            if everyone:
                landing += [each for each in group.flights.values() if each is not self]
                group.flights.clear()
            elif group.flights.get(self.part) is self:  # an overdue one has been replaced
                del group.flights[self.part]
            if not group.flights:
                for key in group.keys:
                    if board.groups.get(key) is group:
                        del board.groups[key]
            landing = [each for each in landing if not each.has_landed]
            for each in landing:
                each.has_landed = True
            return landing


class SingleFlight(PerProcess, Generic[V]):
    """The fetches under way in this process, by what they fetch.

    There may be several flights for one thing, each for its own part of the callers. The first
    that brings what is for all of them ends the waiting of all.
    """

    def __init__(
        self,
        pool: DaemonPool,
        *,
        longest: float,
        overdue: Callable[[Any], object],
        is_for_all: Callable[[V], bool] = lambda _: False,
    ) -> None:
        """Run the work on ``pool``.

        A flight that has not ended after ``longest`` seconds is overdue: the next caller begins
        another one, and calls ``overdue`` with its key. ``is_for_all`` tells of a result whether
        the other flights of its key need not be waited for.
        """
        self._pool = pool
        self._longest = longest
        self._overdue = overdue
        self._is_for_all = is_for_all
        super().__init__()

    def join(
        self,
        key: Hashable,
        work: Callable[[], V | Flight[V]],
        *,
        part: Hashable = None,
        who: Hashable = None,
        lane: Hashable = None,
        width: int = 0,
        most: int | None = None,
    ) -> Flight[V]:
        """Return the flight for ``key`` and ``part``; begin one that runs ``work`` if need be.

        ``key`` and ``part`` are what two callers must have in common to share a flight; ``work``
        returns the result, or another flight that has the same one. It runs on the pool, once, for
        ``who``, in a ``lane`` of that ``width``. None begins while the first one and ``most``
        others are under way. Raises ``Full``, and ``RuntimeError`` where no thread can start.
        """
        check()
        board = self._board
        # The lock makes "there is none" and "begin one" one step: of callers that come together
        # one begins, the others join. It is not held while ``work`` runs.
        with board.lock:
            group = board.groups.get(key) or _Group(board, [key])
            flight: Flight[V] | None = group.flights.get(part)
            late = flight if flight and monotonic() > flight.began + self._longest else None
            if flight is not None and late is None:
                return flight
            if most is not None and len(group.flights) > most:
                raise Full("too many flights for one thing")
            flight = Flight(group, part, Future(), monotonic(), who)
            # Running from the start: a pending future would be cancelled, for all, by the first
            # caller that stops waiting.
            flight.future.set_running_or_notify_cancel()
            group.flights[part] = flight
            board.groups[key] = group
        # Outside the lock: a job may fail, or end, before "submit" returns, and then lands here.
        try:
            job = self._pool.submit(partial(self._fly, flight, work), lane=lane, width=width)
        except BaseException as exc:
            # Callers who have joined meanwhile are told the same.
            self._crash(flight, exc)
            raise
        job.add_done_callback(partial(self._end, flight))
        if late is not None and late.has_begun:
            self._overdue(key)
        return flight

    def under_way(self) -> int:
        """Return how many flights have not landed yet."""
        check()
        board = self._board
        with board.lock:
            groups = {id(group): group for group in board.groups.values()}
            return sum(len(group.flights) for group in groups.values())

    def rename(self, key: Hashable, also: Hashable, part: Hashable) -> Flight[V] | None:
        """Let callers who name ``also`` join what was begun as ``key``.

        If such callers have begun a flight for that ``part`` meanwhile, return it: one is enough.
        """
        board = self._board
        with board.lock:
            group = board.groups.get(key)
            if group is None:  # another flight has landed for all
                return None
            other = board.groups.setdefault(also, group)
            if other is not group:
                return other.flights.get(part)
            if also not in group.keys:
                group.keys.append(also)
            return None

    def _fly(self, flight: Flight[V], work: Callable[[], V | Flight[V]]) -> None:
        flight.has_begun = True
        # Off the board first, then the result: a caller that finds a flight on the board gets an
        # answer that was not there yet when the caller came.
        try:
            result = work()
        except BaseException as exc:  # noqa: BLE001  # the waiting callers get it
            self._crash(flight, exc)
            return
        if isinstance(result, Flight):
            result.future.add_done_callback(partial(self._follow, flight))
            return
        for each in flight.land(everyone=self._is_for_all(result)):
            each.future.set_result(result)

    def _follow(self, flight: Flight[V], other: Future[V]) -> None:
        self._fly(flight, other.result)

    def _end(self, flight: Flight[V], job: Future[None]) -> None:
        """Note the end of a job: it is the pool that failed, if anything did."""
        if (exc := job.exception()) is not None:
            self._crash(flight, exc)

    def _crash(self, flight: Flight[V], exc: BaseException) -> None:
        for each in flight.land(everyone=False):
            each.future.set_exception(passable(exc))

    def _start_over(self) -> None:
        self._board = _Board()


@dataclass(slots=True, eq=False, repr=False)
class _Group:
    """The flights for one thing."""

    board: _Board
    keys: list[Hashable]
    """What it is called; one that begins a flight may find out another name for it."""
    flights: dict[Hashable, Flight[Any]] = field(default_factory=dict)


class _Board:
    """The flights of one process. A forked child has none: no thread of it runs the parent's."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.groups: dict[Hashable, _Group] = {}
