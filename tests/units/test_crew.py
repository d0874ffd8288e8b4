"""Jobs of many users on one pool: a user with many leaves threads to the others."""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup.concurrency.crew import Crew, Full, Job
from instance_lookup.concurrency.threads import DaemonPool
from tests.support.locks import TakenFirst
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


class Jobs:
    """Jobs that end when they are released, and what began."""

    def __init__(self, pool: DaemonPool) -> None:
        self.pool = pool
        self.began: list[str] = []
        self.released = {name: Event() for name in "abcdefgh"}

    def submit(self, name: str, lane: str | None = "olga", width: int = 2) -> None:
        self.pool.submit(self._run, name, lane=lane, width=width)

    def _run(self, name: str) -> None:
        self.began.append(name)
        assert self.released[name].wait(10)

    def end(self, names: str) -> None:
        for name in names:
            self.released[name].set()


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    jobs = Jobs(DaemonPool("test-lanes", 10, most=5, waiting=2))
    yield jobs
    jobs.end("abcdefgh")
    wait_until(lambda: jobs.pool._crew.taken == 0)
    assert jobs.pool._crew.lanes == {}


def test_user_has_so_many_side_by_side(jobs: Jobs) -> None:
    """A user has a limited number of jobs at once; the others wait, and start in order."""
    for name in "abcd":
        jobs.submit(name)
    wait_until(lambda: sorted(jobs.began) == ["a", "b"])
    jobs.end("a")
    wait_until(lambda: jobs.began[2:] == ["c"])
    jobs.end("c")
    wait_until(lambda: jobs.began[2:] == ["c", "d"])


def test_users_do_not_wait_for_each_other(jobs: Jobs) -> None:
    """A user's waiting jobs hold up neither another user's nor those without a user."""
    for name in "abc":
        jobs.submit(name)
    jobs.submit("d", "sam")
    jobs.submit("e", None)
    wait_until(lambda: {"d", "e"} <= set(jobs.began))
    assert "c" not in jobs.began


def test_lane_is_full(jobs: Jobs) -> None:
    """A user with too many waiting jobs is refused at once; other users are not."""
    for name in "abcd":
        jobs.submit(name)
    with pytest.raises(Full, match="of one user"):
        jobs.submit("e")
    jobs.submit("f", "sam")
    wait_until(lambda: "f" in jobs.began)


def test_all_is_full(jobs: Jobs) -> None:
    """When the pool is full each user's job is refused at once."""
    for name, lane in zip("abcde", ["olga", "sam", "ada", "eve", None], strict=True):
        jobs.submit(name, lane)
    for user in ("olga", "bob", None):
        with pytest.raises(Full):
            jobs.submit("f", user)
    jobs.end("a")
    wait_until(lambda: jobs.pool._crew.taken == 4)
    jobs.submit("g", "bob")


def test_narrow_job_waits_for_a_wide_one(jobs: Jobs) -> None:
    """Each job says how many jobs of its user may run beside it."""
    jobs.submit("a", width=2)
    jobs.submit("b", width=1)
    jobs.submit("c", width=2)  # beside "a" only
    jobs.end("c")
    wait_until(lambda: sorted(jobs.began) == ["a", "c"])
    jobs.end("a")
    wait_until(lambda: "b" in jobs.began)


def test_job_that_fails_makes_room(jobs: Jobs) -> None:
    """A job that fails has its error in its future, and frees its place."""

    def fail() -> None:
        raise OSError("upset")

    assert str(jobs.pool.submit(fail, lane="olga", width=1).exception(5)) == "upset"
    jobs.submit("a", width=1)
    wait_until(lambda: jobs.began == ["a"])


def test_job_that_waited_is_done_in_the_context_of_its_caller(jobs: Jobs) -> None:
    """A job that waited runs in its own caller's context, not in that of the job before it."""
    request: ContextVar[str] = ContextVar("request")
    seen: list[str | None] = []

    def submit(name: str) -> None:
        request.set(name)
        jobs.pool.submit(lambda: seen.append(request.get(None)), lane="olga", width=1)

    copy_context().run(jobs.submit, "a", width=1)
    for name in ("first", "second"):
        copy_context().run(submit, name)
    jobs.end("a")
    wait_until(lambda: seen == ["first", "second"])


def refuse(thread: Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """When no thread can be started the caller gets the error, and the place is free again."""
    jobs = Jobs(DaemonPool("test-lanes", 1, most=1, waiting=1))
    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            jobs.submit("a")
    jobs.end("b")
    jobs.submit("b")
    wait_until(lambda: jobs.began == ["b"])


def test_job_that_waited_needs_no_other_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker that ends a job does the next one of its lane."""
    many = 1000
    jobs = Jobs(DaemonPool("test-lanes", 5, waiting=many))
    jobs.submit("a", width=1)
    monkeypatch.setattr(Thread, "start", refuse)
    for _ in range(many):
        jobs.submit("b", width=1)
    jobs.end("ab")
    wait_until(lambda: len(jobs.began) == 1 + many)
    wait_until(lambda: jobs.pool._crew.lanes == {})


def test_job_that_comes_as_the_last_of_its_lane_ends_is_not_left_behind() -> None:
    """A job queued at the moment when the last of its lane ends is started."""
    crew: Any = Crew(most=9, waiting=9)
    first, second = (Job(copy_context(), print, "olga", 1) for _ in range(2))
    crew.add(first)
    crew.changed = TakenFirst(lambda: crew.waits(second))
    crew.leave("olga")
    assert list(crew.jobs) == [first, second]
    assert crew.taken == 1
