"""The jobs of a pool and its workers: which job begins, which waits, and when to hire another."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from contextvars import Context


class Full(RuntimeError):
    """There is no room for another job: a caller is told at once, rather than wait in vain."""


class Job(NamedTuple):
    """Something to do, in the context of its caller."""

    context: Context
    run: Callable[[], None]
    lane: Hashable
    """The user it is for; ``None``: of no user."""
    width: int
    """How many jobs of its lane may run at a time, with this one."""


class _Lane:
    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[Job] = deque()


class Crew:
    """The workers of one process, and what is left for them to do.

    ``changed`` is the lock for all fields. It is not held while a job runs. Looking for
    room and taking it are one step under it, and so are making room and choosing what is next.

    A worker keeps to its own crew: after a fork the child makes a new one, whatever state the lock
    of the old one was in. So what a parent began does not end in its child.
    """

    def __init__(self, most: float, waiting: int) -> None:
        """Let at most ``most`` jobs run or be next, and ``waiting`` jobs wait in each lane."""
        self.changed = Condition()
        self.jobs: deque[Job] = deque()
        """What the next worker that is free may do."""
        self.workers = 0
        self.idle = 0
        self.starting = False
        self.taken = 0
        """Jobs that are in ``jobs``, or being done."""
        self.lanes: dict[Hashable, _Lane] = {}
        self._most = most
        self._waiting = waiting

    def waits(self, job: Job) -> bool:
        """Queue a job that has to wait for others of its lane; tell whether it does.

        Raises ``Full``. The caller holds the lock, and calls :meth:`add` for what need not wait.
        """
        own = None if job.lane is None else self.lanes.get(job.lane)
        if own is not None and own.running >= job.width:
            if len(own.waiting) >= self._waiting:
                raise Full("too many jobs of one user")
            own.waiting.append(job)
            return True
        if self.taken >= self._most:
            raise Full("too many jobs")
        return False

    def add(self, job: Job) -> None:
        """Have the next worker do it. The caller holds the lock."""
        self.taken += 1
        if job.lane is not None:
            self.lanes.setdefault(job.lane, _Lane()).running += 1
        self.jobs.append(job)

    def hires(self, most: int, *, jobs: int) -> bool:
        """Tell whether to start another worker, and count it in."""
        hires = jobs > self.idle and self.workers < most
        if hires:
            self.workers += 1
            self.starting = True
        return hires

    def next_job(self, patience: float) -> Job | None:
        """Wait for a job; return ``None``, and count the worker out, when none comes."""
        with self.changed:
            self.idle += 1
            self.changed.wait_for(lambda: self.jobs, patience)
            self.idle -= 1
            # Under the lock since the wait ended: a job that came before is taken here, and
            # "submit" of a later one no longer counts on this worker.
            if self.jobs:
                return self.jobs.popleft()
            self.workers -= 1
            return None

    def leave(self, lane: Hashable) -> None:
        """Note the end of a job of ``lane``, and add the first that waits for it and may run.

        No worker is woken for that one: the worker that gets here looks for a job next.
        """
        with self.changed:
            self.taken -= 1
            if lane is None:
                return
            own = self.lanes[lane]
            own.running -= 1
            # The first that may run beside the others: a narrow one waits until they have ended.
            for place, following in enumerate(own.waiting):
                if own.running < following.width:
                    del own.waiting[place]
                    self.add(following)
                    return
            if not own.running:
                del self.lanes[lane]
