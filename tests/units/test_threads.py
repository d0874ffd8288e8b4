from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import wait
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import caches
from django.db import DatabaseError

from instance_lookup.concurrency import threads as workers
from instance_lookup.concurrency.threads import DaemonPool
from tests.support.forks import FORKS
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from concurrent.futures import Future

WHO: ContextVar[str] = ContextVar("WHO")
REQUEST: ContextVar[Any] = ContextVar("REQUEST")


def run_python(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script without Django settings, as a program that imports the module would."""
    env = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=env,
    )


def threads_named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_submit_returns_the_result() -> None:
    """The future holds what the function returned."""
    assert DaemonPool("sum", 1).submit(pow, 2, 10).result(5) == 1024


def test_submit_hands_over_any_exception() -> None:
    """Any exception, even SystemExit, goes to the waiting caller, and the worker lives on."""
    pool = DaemonPool("failing", 1)
    failed = pool.submit(sys.exit, 3)
    with pytest.raises(SystemExit):
        failed.result(5)
    assert pool.submit(str, 1).result(5) == "1"


def test_pool_starts_no_thread_before_the_first_job() -> None:
    """Importing a module that has a pool costs no thread."""
    DaemonPool("lazy", 2)
    assert threads_named("lazy") == []


def test_pool_is_bounded() -> None:
    """A pool has a limited number of workers; further jobs wait in line."""
    pool = DaemonPool("bounded", 2)
    release = threading.Event()
    jobs = [pool.submit(release.wait, 5) for _ in range(6)]
    wait_until(lambda: len(threads_named("bounded")) == 2)
    time.sleep(0.05)
    assert len(threads_named("bounded")) == 2
    release.set()
    assert [job.result(5) for job in jobs] == [True] * 6


def test_only_the_first_worker_is_started_by_who_submits() -> None:
    """A caller starts only the first worker; workers start each other after that."""
    pool = DaemonPool("hiring", 8)
    release = threading.Event()
    with pool._crew.changed:  # no worker gets to work
        jobs = [pool.submit(release.wait, 5) for _ in range(8)]
        assert len(threads_named("hiring")) == 1
    wait_until(lambda: len(threads_named("hiring")) == 8)
    release.set()
    assert [job.result(5) for job in jobs] == [True] * 8


def test_worker_that_cannot_start_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that cannot start another one does all jobs by itself."""
    pool = DaemonPool("alone", 8)
    with pool._crew.changed:
        jobs = [pool.submit(str, number) for number in range(3)]

        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", start)
    assert [job.result(5) for job in jobs] == ["0", "1", "2"]
    assert pool._crew.workers == 1


def test_idle_worker_is_used_again() -> None:
    """A job takes an idle worker before it starts another."""
    pool = DaemonPool("frugal", 4)
    first = pool.submit(threading.get_ident).result(5)
    wait_until(lambda: pool._crew.idle == 1)
    assert pool.submit(threading.get_ident).result(5) == first


def test_idle_worker_ends() -> None:
    """No thread outlives its use by more than the idle time, and later jobs start a new one."""
    pool = DaemonPool("brief", 1, idle_seconds=0.01)
    pool.submit(str).result(5)
    wait_until(lambda: not threads_named("brief"))
    assert pool.submit(str, 2).result(5) == "2"


def test_cancelled_job_is_not_run() -> None:
    """A cancelled job is dropped from the line and never run."""
    pool = DaemonPool("cancelling", 1)
    release, ran = threading.Event(), threading.Event()
    pool.submit(release.wait, 5)
    assert pool.submit(ran.set).cancel()
    release.set()
    pool.submit(str).result(5)
    assert not ran.is_set()


def test_django_caches_of_a_worker_are_kept_from_job_to_job() -> None:
    """Threads of ours keep their cache clients; a new one for each job would cost its making."""
    pool = DaemonPool("caches", 1)

    first = pool.submit(lambda: caches["default"]).result(5)

    assert first is pool.submit(lambda: caches["default"]).result(5)
    assert first is not caches["default"]


def test_job_runs_in_the_context_of_its_caller() -> None:
    """A job has its caller's context, also when another caller started the worker."""
    pool = DaemonPool("contexts", 1)
    for name in ("alice", "bob"):
        WHO.set(name)
        assert pool.submit(WHO.get).result(5) == name


def test_job_of_a_job_runs_in_the_context_of_the_first_caller() -> None:
    """A job that hands work on does so for the same request."""
    outer, inner = DaemonPool("outer", 1), DaemonPool("inner", 1)
    WHO.set("alice")
    assert outer.submit(lambda: inner.submit(WHO.get).result(5)).result(5) == "alice"


def test_job_changes_a_copy_of_the_context() -> None:
    """A job changes a copy of the context: neither its caller nor the next job sees it."""
    pool = DaemonPool("copies", 1)
    WHO.set("alice")
    pool.submit(WHO.set, "mallory").result(5)
    assert WHO.get() == "alice"
    assert pool.submit(WHO.get).result(5) == "alice"


def test_job_has_no_cache_client_of_its_caller() -> None:
    """Django gives each thread its own; two that share one would read each other's answers."""
    mine = caches["default"]
    pool = DaemonPool("strangers", 1)
    theirs = [pool.submit(lambda: caches["default"]).result(5) for _ in range(2)]
    assert theirs[0] is theirs[1] is not mine
    assert caches["default"] is mine


def test_cache_clients_of_a_worker_survive_the_caller_that_closes_its_own() -> None:
    """A request ends, and closes what `caches` holds for it: the worker goes on with its own."""
    pool = DaemonPool("survivors", 1)

    def request() -> object:
        caches["default"].get("a")
        client = pool.submit(lambda: caches["default"]).result(5)
        caches.close_all()
        return client

    first, second = copy_context().run(request), copy_context().run(request)
    assert first is second


@pytest.mark.parametrize("fail", [False, True])
def test_context_of_a_caller_ends_with_its_job(*, fail: bool) -> None:
    """After the job neither the worker nor an error keeps the caller's request alive."""
    pool = DaemonPool("leaving", 1)

    class Request:
        def fail(self) -> None:
            raise ValueError

    def serve() -> weakref.ref[Request]:
        request = Request()
        REQUEST.set(request)
        job = pool.submit(lambda: REQUEST.get().fail() if fail else None)
        wait([job], 5)
        return weakref.ref(request)

    gc.disable()
    try:
        request = copy_context().run(serve)
        wait_until(lambda: pool._crew.idle == 1)
        assert request() is None
    finally:
        gc.enable()
    assert threads_named("leaving")


def test_worker_starts_with_nothing_of_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new worker starts in an empty context, also with tools that copy it, such as Sentry."""
    seen: list[str] = []
    start = threading.Thread.start

    def start_as_sentry_does(thread: threading.Thread) -> None:
        seen.append(WHO.get("none"))
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_as_sentry_does)
    WHO.set("alice")
    pool = DaemonPool("strange", 1)
    assert pool.submit(WHO.get).result(5) == "alice"
    assert seen == ["none"]


def test_result_is_not_kept_by_an_idle_worker() -> None:
    """A large result is freed with its future."""
    pool = DaemonPool("forgetful", 1)
    freed = threading.Event()

    class Result:
        def __del__(self) -> None:
            freed.set()

    pool.submit(Result).result(5)
    assert freed.wait(5)


def test_submit_leaves_nothing_behind_when_no_thread_can_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A job whose ``submit`` failed is never run."""
    pool = DaemonPool("full", 1)
    ran: list[int] = []

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.submit(ran.append, 1)
    pool.submit(str).result(5)
    assert ran == []


def test_submit_waits_for_a_worker_when_no_other_can_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When no thread can be started a running worker does the job."""
    pool = DaemonPool("short", 2)
    release = threading.Event()
    pool.submit(release.wait, 5)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        job = pool.submit(str, 1)
    release.set()
    assert job.result(5) == "1"


def test_database_connections_are_closed_around_each_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker keeps no connection that Django would have closed at the end of a request."""
    events: list[str] = []
    monkeypatch.setattr(workers, "close_old_connections", lambda: events.append("close"))
    DaemonPool("database", 1).submit(events.append, "job").result(5)
    assert events == ["close", "job", "close"]


def test_database_connections_are_closed_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing job leaves no connection either."""
    events: list[str] = []
    monkeypatch.setattr(workers, "close_old_connections", lambda: events.append("close"))

    def fail() -> None:
        raise DatabaseError("gone")

    failed: Future[None] = DaemonPool("database", 1).submit(fail)
    with pytest.raises(DatabaseError):
        failed.result(5)
    assert events == ["close", "close"]


def test_ending_worker_closes_all_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A persistent connection ends with the thread that holds it."""
    closed = threading.Event()

    class Connections:
        close_all = staticmethod(closed.set)

    monkeypatch.setattr(workers, "connections", Connections())
    DaemonPool("ending", 1, idle_seconds=0.01).submit(str).result(5)
    assert closed.wait(5)


def test_renewed_pool_has_nothing_of_the_old_one() -> None:
    """After a fork a pool uses no thread, job or lock of its parent."""
    pool = DaemonPool("forked", 1)
    release = threading.Event()
    before = pool.submit(release.wait, 5)
    pool._crew.changed.acquire()
    old = pool._crew
    pool._start_over()
    try:
        assert pool.submit(str, 3).result(5) == "3"
    finally:
        old.changed.release()
        release.set()
    assert before.result(5)


def test_works_without_settings() -> None:
    """A program that uses no database needs no Django settings."""
    done = run_python(
        "import time\n"
        "from instance_lookup.concurrency.threads import DaemonPool\n"
        "pool = DaemonPool('plain', 1, idle_seconds=0.01)\n"
        "print(pool.submit(str, 7).result(5))\n"
        "time.sleep(0.1)\n"  # the idle worker ends without a traceback
    )
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_stuck_worker_does_not_delay_exit() -> None:
    """A process with a worker stuck for 30 s exits at once (ThreadPoolExecutor would wait)."""
    begun = time.monotonic()
    done = run_python(
        "import time\n"
        "from instance_lookup.concurrency.threads import DaemonPool\n"
        "DaemonPool('stuck', 1).submit(time.sleep, 30)\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_forked_child_works_while_the_lock_is_held(fork: str) -> None:
    """A fork in the middle of a submit leaves the child a working pool."""
    done = run_python(
        "import os, time, sys\n"
        "from instance_lookup.concurrency.threads import DaemonPool\n"
        "pool = DaemonPool('forked', 1)\n"
        "pool.submit(time.sleep, 30)\n"
        "pool._crew.changed.acquire()\n"
        f"if {fork} == 0:\n"
        "    os._exit(pool.submit(int, '7').result(10))\n"
        "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    assert (done.returncode, done.stderr) == (7, "")


def test_stop_iteration_reaches_whoever_waits() -> None:
    """StopIteration of a job is raised as RuntimeError: on Python 3.11 a coroutine would hang."""
    job = DaemonPool("stopped", 1).submit(lambda: next(iter(())))
    with pytest.raises(RuntimeError, match="StopIteration"):
        job.result(5)
