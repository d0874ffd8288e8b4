"""Threads that want the same thing at the same moment share the next round, never the present."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from instance_lookup.concurrency.coalescing import CoalescedReads
from tests.support.forks import FORKS
from tests.support.waiting import wait_until

LONG = 30


class Source:
    """A source of numbers that go up; each read waits until its gate is opened."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.gates: dict[int, Event] = {}
        self.fails: set[int] = set()

    def read(self, key: str) -> int:
        self.reads.append(key)
        number = len(self.reads)
        if number in self.gates:
            assert self.gates[number].wait(LONG)
        if number in self.fails:
            raise LookupError(number)
        return number


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def rounds() -> CoalescedReads[int]:
    return CoalescedReads()


def under_way(rounds: CoalescedReads[int]) -> dict[str, Any]:
    """Return the rounds that are not over, by what they read."""
    return rounds._under_way


def waiting(rounds: CoalescedReads[int], key: str = "a") -> int:
    """Return how many wait for the end of the present round, or of the next."""
    now = under_way(rounds)[key]
    return 0 if now.next is None else len(now.waiting) + len(now.next.waiting)


def test_one_after_the_other(rounds: CoalescedReads[int], source: Source) -> None:
    """Nothing is kept: each read after another goes to the source."""
    assert [
        rounds.get("a", source.read),
        rounds.get("a", source.read),
        rounds.get("b", source.read),
    ] == [1, 2, 3]
    assert source.reads == ["a", "a", "b"]
    assert under_way(rounds) == {}


def test_those_who_come_meanwhile_share_the_next(
    rounds: CoalescedReads[int], source: Source
) -> None:
    """Callers that come during a read share the next one, which sees later changes."""
    source.gates = {1: Event(), 2: Event()}
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(rounds.get, "a", source.read)
        wait_until(lambda: len(source.reads) == 1)
        second = [pool.submit(rounds.get, "a", source.read) for _ in range(5)]
        wait_until(lambda: waiting(rounds) == 5)
        assert not any(each.done() for each in second)
        source.gates[1].set()
        wait_until(lambda: len(source.reads) == 2)
        third = [pool.submit(rounds.get, "a", source.read) for _ in range(2)]
        wait_until(lambda: waiting(rounds) == 4 + 2)
        source.gates[2].set()
        assert first.result(LONG) == 1
        assert [each.result(LONG) for each in second] == [2] * 5
        assert [each.result(LONG) for each in third] == [3] * 2
    assert under_way(rounds) == {}


def test_keys_do_not_wait_for_each_other(rounds: CoalescedReads[int], source: Source) -> None:
    """A read of one key does not wait for a read of another key."""
    source.gates = {1: Event()}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(rounds.get, "a", source.read)
        wait_until(lambda: len(source.reads) == 1)
        assert rounds.get("b", source.read) == 2
        source.gates[1].set()
        assert first.result(LONG) == 1


def test_failure_is_for_whoever_made_it(rounds: CoalescedReads[int], source: Source) -> None:
    """A failed read is raised in its own caller; followers read by themselves."""
    source.gates = {1: Event(), 2: Event()}
    source.fails = {1, 2}
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(rounds.get, "a", source.read)
        wait_until(lambda: len(source.reads) == 1)
        second = [pool.submit(rounds.get, "a", source.read) for _ in range(3)]
        wait_until(lambda: waiting(rounds) == 3)
        source.gates[1].set()
        wait_until(lambda: len(source.reads) == 2)
        source.gates[2].set()
        with pytest.raises(LookupError, match="1"):
            first.result(LONG)
        errors = [each.exception(LONG) for each in second]
    assert [type(error) for error in errors if error] == [LookupError]
    assert sorted(each.result() for each in second if not each.exception()) == [3, 4]
    assert rounds.get("a", source.read) == 5


def test_nobody_waits_for_a_thread_that_hangs(source: Source) -> None:
    """When a read hangs the next round goes ahead; when that hangs too, the others read alone."""
    rounds = CoalescedReads[int]()
    source.gates = {1: Event(), 2: Event()}
    with ThreadPoolExecutor(8) as pool:
        hangs = pool.submit(rounds.get, "a", source.read)
        wait_until(lambda: len(source.reads) == 1)
        others = [pool.submit(rounds.get, "a", source.read) for _ in range(3)]
        wait_until(lambda: sum(each.done() for each in others) == 2)
        source.gates[2].set()
        first, *later = sorted(each.result(LONG) for each in others)
        assert first == 2
        assert set(later) <= {3, 4}
        assert rounds.get("a", source.read) == len(source.reads)
        assert not hangs.done()
        source.gates[1].set()
        assert hangs.result(LONG) == 1
    assert under_way(rounds) == {}


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_fork_in_the_middle(fork: str) -> None:
    """A child neither waits for a thread of its parent nor ends its rounds."""
    script = """
import os, signal, sys, threading
from instance_lookup.concurrency.coalescing import CoalescedReads
begun = threading.Event()
here = os.getpid()

def read(key):
    if key == "slow" and os.getpid() == here:
        begun.set()
        threading.Event().wait()
    if key == "forking" and os.getpid() == here:
        return eval(sys.argv[1])
    return 7

rounds = CoalescedReads()
threading.Thread(target=rounds.get, args=["slow", read], daemon=True).start()
begun.wait()
if rounds.get("forking", read) == 0:
    signal.alarm(10)
    os._exit(rounds.get("slow", read) + rounds.get("forking", read))
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    done = subprocess.run([sys.executable, "-c", script, fork], check=False, timeout=60)
    assert done.returncode == 14


def test_reading_while_reading(rounds: CoalescedReads[int], source: Source) -> None:
    """A caller whose read asks for the same key again does not wait for itself."""

    def logged(key: str) -> int:
        return 10 * rounds.get(key, source.read)

    assert rounds.get("a", logged) == 10
    assert under_way(rounds) == {}


class Interrupted(BaseException):
    """An error like the one that a signal raises to end a job."""


def test_leader_who_leaves(rounds: CoalescedReads[int], source: Source) -> None:
    """When the leader of a round leaves, its followers and later callers read by themselves."""
    source.gates = {1: Event()}

    def interrupt(*_: object) -> None:
        follows.append(pool.submit(rounds.get, "a", source.read))
        wait_until(lambda: waiting(rounds) == 2)
        raise Interrupted

    follows: list[Future[int]] = []
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with ThreadPoolExecutor(4) as pool:
            first = pool.submit(rounds.get, "a", source.read)
            wait_until(lambda: len(source.reads) == 1)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Interrupted):
                rounds.get("a", source.read)
            assert follows[0].result(LONG) == 2
            come = pool.submit(rounds.get, "a", source.read)
            source.gates[1].set()
            assert [first.result(LONG), come.result(LONG)] == [1, 3]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert under_way(rounds) == {}


def test_follower_who_leaves(rounds: CoalescedReads[int], source: Source) -> None:
    """A round goes on when one of its followers leaves."""
    source.gates = {1: Event()}

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with ThreadPoolExecutor(4) as pool:
            first = pool.submit(rounds.get, "a", source.read)
            wait_until(lambda: len(source.reads) == 1)
            leads = pool.submit(rounds.get, "a", source.read)
            wait_until(lambda: waiting(rounds) == 1)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Interrupted):
                rounds.get("a", source.read)
            source.gates[1].set()
            assert [first.result(LONG), leads.result(LONG)] == [1, 2]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert under_way(rounds) == {}


def test_round_that_is_gone_before_it_is_waited_for(rounds: CoalescedReads[int]) -> None:
    """A caller whose round ended before it could wait leads the next round at once."""
    mine = rounds._next("a")
    assert mine is not None
    assert under_way(rounds) == {"a": mine}
    rounds._end("a", mine)
    assert under_way(rounds) == {}


def test_round_that_is_gone_when_it_would_be_overtaken(
    rounds: CoalescedReads[int], source: Source
) -> None:
    """A round that a fork removed while it was waited for does no harm to later rounds."""
    source.gates = {1: Event()}
    with ThreadPoolExecutor(4) as pool:
        hangs = pool.submit(rounds.get, "a", source.read)
        wait_until(lambda: len(source.reads) == 1)
        leads = pool.submit(rounds.get, "a", source.read)
        wait_until(lambda: waiting(rounds) == 1)
        rounds._start_over()
        assert leads.result(LONG) == 2
        assert under_way(rounds) == {}
        source.gates[1].set()
        assert hangs.result(LONG) == 1
