"""Jobs of many users on one pool of threads, of which no user can take all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from msgspec import Struct

from instance_lookup.concurrency.forks import PerProcess

if TYPE_CHECKING:
    from collections.abc import Hashable
    from concurrent.futures import Future

    from instance_lookup.concurrency.threads import DaemonPool


Job = Callable[[], object]
Failed = Callable[[BaseException], object]


class Full(RuntimeError):
    """There is no room for another job: a caller is told at once, rather than wait in vain."""


class Lanes(PerProcess):
    """Hands jobs to a pool: those of one user side by side up to a width, the others wait."""

    def __init__(self, pool: DaemonPool, *, most: int, waiting: int) -> None:
        """Give ``pool`` so many jobs at ``most``. In each lane so many may be ``waiting``."""
        self.pool = pool
        self._most = most
        self._waiting = waiting
        super().__init__()

    def submit(self, job: Job, failed: Failed, *, lane: Hashable = None, width: int = 0) -> None:
        """Have ``job`` done, at once or when its lane has room. It raises nothing, normally.

        ``failed`` is called with what the pool, or the job, raised all the same. ``lane`` is the
        user (``None``: no lane), ``width`` how many jobs of a lane run at one time when this one
        starts. Raises ``Full``, and ``RuntimeError`` if the process can start no more threads.
        """
        traffic = self._traffic
        # In the caller's context now, since what starts it later may be the job of another user.
        start = partial(copy_context().run, self._start, traffic, lane, job, failed)
        waiting = _Waiting(start, failed, width)
        with traffic.lock:
            own = traffic.lanes.get(lane) if lane is not None else None
            if own is not None and own.running >= width:
                if len(own.waiting) >= self._waiting:
                    raise Full("too many jobs of one user")
                own.waiting.append(waiting)
                return
            if traffic.running >= self._most:
                raise Full("too many jobs")
            traffic.takes(lane)
        try:
            waiting.start()
        except BaseException:
            self._leave(traffic, lane)
            raise

    def _start(self, traffic: _Traffic, lane: Hashable, job: Job, failed: Failed) -> None:
        done = self.pool.submit(job)
        done.add_done_callback(partial(self._ended, traffic, lane, failed))

    def _ended(
        self, traffic: _Traffic, lane: Hashable, failed: Failed, done: Future[object]
    ) -> None:
        # A child process has other lanes: what its parent began does not end here.
        if (exc := done.exception()) is not None:
            failed(exc)
        self._leave(traffic, lane)

    def _leave(self, traffic: _Traffic, lane: Hashable) -> None:
        """Make room, and start what waits for it, in the order in which it came."""
        while True:
            with traffic.lock:
                following = traffic.leaves(lane)
            if following is None:
                return
            # Outside the lock. If the pool refuses, the next one in the lane takes its place.
            try:
                following.start()
            except (RuntimeError, MemoryError) as exc:
                following.failed(exc)
            else:
                return

    def _start_over(self) -> None:
        self._traffic = _Traffic()


class _Waiting(Struct, frozen=True):
    start: Callable[[], None]
    failed: Failed
    width: int


class _Lane:
    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[_Waiting] = deque()


class _Traffic:
    """The jobs of one process. ``lock`` is for all fields; it is not held while a job runs.

    It makes "is there room" and "take it" one step, and so "make room" and "who is next".
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.running = 0
        """Jobs that the pool has, whether a thread has begun them or not."""
        self.lanes: dict[Hashable, _Lane] = {}

    def takes(self, lane: Hashable) -> None:
        self.running += 1
        if lane is not None:
            self.lanes.setdefault(lane, _Lane()).running += 1

    def leaves(self, lane: Hashable) -> _Waiting | None:
        """Note the end of a job; return what is to be started, which is counted already."""
        self.running -= 1
        if lane is None:
            return None
        own = self.lanes[lane]
        own.running -= 1
        # The first that may run beside the others: a narrow one waits until they have ended.
        for place, following in enumerate(own.waiting):
            if own.running < following.width:
                del own.waiting[place]
                self.takes(lane)
                return following
        if not own.running:
            del self.lanes[lane]
        return None
