"""Daemon threads: the exit of the process never waits for their work.

``ThreadPoolExecutor`` joins its threads when the process exits, so one stuck name lookup would hold
up every restart. These threads are left behind instead.

A thread outlives the request that starts it and works for others, so it gets nothing of that
request. A job belongs to the request that submits it, so it gets all of it.
"""

from __future__ import annotations

from concurrent.futures import Future
from contextvars import Context, ContextVar, copy_context
from functools import partial
from math import inf
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from django.conf import settings
from django.core.cache import BaseCache, caches
from django.db import close_old_connections, connections

from instance_lookup.concurrency.crew import Crew, Job
from instance_lookup.concurrency.forks import PerProcess, check

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Clients = dict[ContextVar[Any], Any]


class DaemonPool(PerProcess):
    """Run functions on at most ``max_workers`` daemon threads.

    Threads start with the first job and end after ``idle_seconds`` without one. A job must never
    wait for another of the same pool: if all workers wait, none is left to work.

    A job runs in a copy of the context of its caller: logs, signals, traces and error trackers know
    whose request it works for. Django keeps the clients of ``caches`` in the context as well; these
    are for one thread, so a job has those of its worker, which keeps them from job to job.
    """

    def __init__(
        self,
        name: str,
        max_workers: int,
        *,
        idle_seconds: float = 5.0,
        most: float = inf,
        waiting: int = 0,
    ) -> None:
        """Name the threads ``name``. None is started yet, and ``max_workers`` is how many may be.

        A thread without a job ends after ``idle_seconds``. At most ``most`` jobs run or are
        next. Behind them at most ``waiting`` more may wait in each lane.
        """
        self._name = name
        self._max_workers = max_workers
        self._idle_seconds = idle_seconds
        self._most = most
        self._waiting = waiting
        super().__init__()

    def submit(
        self, fn: Callable[[*Ts], T], *args: *Ts, lane: Hashable = None, width: int = 1
    ) -> Future[T]:
        """Have ``fn(*args)`` called by a worker, and return the future of its result.

        ``lane`` is the user that the job is for (``None``: no user). It waits until fewer than
        ``width`` jobs of its lane run, so that no user takes all threads. Raises ``Full``, and
        ``RuntimeError`` or ``MemoryError`` if there is no worker and none can start.
        """
        future: Future[T] = Future()
        # The context of now: a job that waits is begun later, by a worker of another request.
        job = Job(copy_context(), partial(_run, future, partial(fn, *args)), lane, width)
        check()
        crew = self._crew
        with crew.changed:
            if crew.waits(job):
                return future
            # At most one worker starts at a time, and it starts the next one itself. Starting a
            # thread waits until it runs; an event loop that waited for each job would stand still.
            # No deadlock: the new thread runs before it asks for the lock that is held here.
            if not crew.starting and crew.hires(self._max_workers, jobs=len(crew.jobs) + 1):
                self._start_worker(crew)
            crew.add(job)
            crew.changed.notify()
        return future

    def _start_worker(self, crew: Crew) -> None:
        try:
            start_daemon(self._name, self._work, crew)
        except (RuntimeError, MemoryError):  # the system has no more threads to give
            with crew.changed:  # re-entrant: "submit" holds it, "_work" does not
                crew.workers -= 1
                crew.starting = False
            # Before the job is queued: a job that no worker will do is not left behind.
            if not crew.workers:
                raise

    def _work(self, crew: Crew) -> None:
        with crew.changed:
            crew.starting = False
            hires = crew.hires(self._max_workers, jobs=len(crew.jobs) - 1)  # one is for this one
        if hires:
            self._start_worker(crew)
        clients = _no_clients()
        while job := crew.next_job(self._idle_seconds):
            job.context.run(_run_with, clients, job.run)
            lane = job.lane
            del job  # else an idle worker keeps the last result, and the last request, alive
            crew.leave(lane)
        if settings.configured:
            connections.close_all()

    def _start_over(self) -> None:
        self._crew = Crew(self._most, self._waiting)


def start_daemon(name: str, target: Callable[[*Ts], object], *args: *Ts) -> Thread:
    """Start a daemon thread that runs ``target(*args)``, and return it.

    It has nothing of the caller's context, which Sentry, and a free-threaded Python 3.14, would
    hand to it: it would log for ever in the name of the request that happened to start it.
    """
    thread = Thread(target=target, args=args, name=name, daemon=True)
    Context().run(thread.start)
    return thread


def _no_clients() -> Clients:
    """Return the context variables in which Django keeps ``caches``, as they are without any."""
    context = Context()
    context.run(caches.__setitem__, "", BaseCache({}))
    context.run(caches.__delitem__, "")
    return dict(context.items())


def _run_with(clients: Clients, run: Callable[[], None]) -> None:
    """Run a job in its context, but with these cache clients; add those that it makes."""
    for variable, value in clients.items():
        variable.set(value)
    run()
    del run  # as in "_run"
    for variable in clients:
        clients[variable] = variable.get()


def _run(future: Future[T], call: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = _with_own_connections(call)
    except StopIteration as exc:
        # asyncio's futures refuse StopIteration: the coroutine that awaits would hang.
        error = RuntimeError(f"a job raised StopIteration({exc})")
        error.__cause__ = exc
        future.set_exception(error)
    except BaseException as exc:  # noqa: BLE001 - the worker lives on, the waiting caller gets it
        future.set_exception(exc)
    else:
        future.set_result(result)
    finally:
        del future, call  # else they and the error, whose traceback has this frame, hold each other


def _with_own_connections(call: Callable[[], T]) -> T:
    """Return ``call()``; close old database connections before and after, as Django does."""
    if not settings.configured:  # then there is no database
        return call()
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()


def passable(exc: BaseException) -> Exception:
    """Return what to raise in the callers who wait for a job that ended with ``exc``.

    ``CancelledError`` or ``SystemExit`` would end them too, and asyncio refuses ``StopIteration``.
    """
    if isinstance(exc, Exception) and not isinstance(exc, StopIteration):
        return exc
    error = RuntimeError(f"A job ended with {type(exc).__name__}.")
    error.__cause__ = exc
    return error
