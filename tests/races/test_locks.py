"""A fork while one of our locks is held."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from instance_lookup.cache.stats import Counters
from instance_lookup.concurrency import forks
from tests.support.forks import FORKS

# One thread holds the lock for good, another forks: the child is left with one thread and the
# lock. SIGALRM ends a child that waits for it.
SCRIPT = """
import os, signal, sys, threading
{make}
held = threading.Event()

def hold():
    with shared._lock:
        held.set()
        threading.Event().wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
if {fork} == 0:
    signal.alarm(10)
    {use}
    os._exit(7)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
SHARED = {
    "breaker": (
        "from instance_lookup.resilience.breaker import Breaker\n"
        "shared = Breaker(failures=1, reset=1, probe=1)",
        "shared.enter(), shared.failed(), shared.succeeded()",
    ),
    "expiring": (
        "from instance_lookup.resilience.expiring import Expiring\nshared = Expiring(1)",
        "shared.put(1, 1), shared.drop(1), shared.clear()",
    ),
    "health": (
        "from instance_lookup.resilience.health import Health\nshared = Health('it')",
        "shared.failed('down', 'it is down'), shared.ok()",
    ),
    "counters": (
        "from instance_lookup.cache.stats import Counters\nshared = Counters()",
        "shared.add('hits'), shared.read(), shared.reset()",
    ),
    "epochs": (
        "from instance_lookup.cache.epochs import Epochs\nshared = Epochs(1)",
        "shared.change('acme'), shared.keep('acme', 1, bool), shared.apart(bool)",
    ),
}


def run(script: str) -> int:
    """Return the exit code of a script, which is that of its child."""
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, timeout=30, check=False, stderr=subprocess.DEVNULL)
    return done.returncode


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
@pytest.mark.parametrize("name", SHARED)
def test_child_works_while_the_lock_is_held(name: str, fork: str) -> None:
    """A child works though another thread of its parent held the lock."""
    make, use = SHARED[name]
    assert run(SCRIPT.format(make=make, use=use, fork=fork)) == 7


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_holder_that_forks_goes_on_in_the_child(fork: str) -> None:
    """A thread that forks while it holds a lock can release and take it in the child."""
    script = (
        "import os, signal, sys\n"
        "from instance_lookup.cache.stats import Counters\n"
        "shared = Counters()\n"
        "with shared._lock:\n"
        f"    child = {fork}\n"
        "if child == 0:\n"
        "    signal.alarm(10)\n"
        "    shared.add('hits')\n"
        "    os._exit(shared.read().hits)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    assert run(script) == 1


def test_locks_are_renewed_at_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a child an object keeps its state and gets a new lock."""
    counters = Counters()
    counters.add("hits")
    before = counters._lock
    monkeypatch.setattr(forks, "_all", {counters})
    monkeypatch.setattr(forks, "_process", PARENT)
    with before:
        counters.add("hits")
        assert counters.read().hits == 2
    assert counters._lock is not before


PARENT = -1
"""The process id of a parent, as its child remembers it."""


class Slow(forks.Guarded):
    """An object that starts over slowly after a fork: it waits until ``go_on`` is set."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.go_on.set()
        super().__init__()
        self.begun.acquire()

    def _start_over(self) -> None:
        self.begun.release()
        assert self.go_on.wait(10)
        super()._start_over()


def test_threads_that_notice_a_fork_together_share_one_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One thread makes the new locks; the others wait, and none uses a lock of the parent."""
    shared = Slow()
    before = shared._lock
    monkeypatch.setattr(forks, "_all", {shared})
    monkeypatch.setattr(forks, "_process", PARENT)
    shared.go_on.clear()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(lambda: shared._lock)
        assert shared.begun.acquire(timeout=10)
        others = [pool.submit(lambda: shared._lock) for _ in range(7)]
        gate = forks._gates[os.getpid()]
        assert gate.locked()
        assert not any(each.done() for each in [first, *others])
        shared.go_on.set()
        locks = {each.result(10) for each in [first, *others]}
    assert len(locks) == 1
    assert before not in locks
    assert not shared.begun.acquire(blocking=False)


def test_child_adds_nothing_while_all_start_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object made while all locks are renewed is added after that, for the child."""
    shared = Slow()
    everything = {shared}
    monkeypatch.setattr(forks, "_all", everything)
    monkeypatch.setattr(forks, "_process", PARENT)
    shared.go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        pool.submit(lambda: shared._lock)
        assert shared.begun.acquire(timeout=10)
        made = pool.submit(Counters)
        assert everything == {shared}
        shared.go_on.set()
        assert everything == {shared, made.result(10)}
