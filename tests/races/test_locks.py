"""A fork while one of our locks is held."""

from __future__ import annotations

import subprocess
import sys

import pytest

from instance_lookup.cache.stats import Counters
from instance_lookup.concurrency import forks

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
if os.fork() == 0:
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


@pytest.mark.parametrize("name", SHARED)
def test_child_works_while_the_lock_is_held(name: str) -> None:
    """A child must not wait for a thread that it does not have."""
    make, use = SHARED[name]
    assert run(SCRIPT.format(make=make, use=use)) == 7


def test_holder_that_forks_goes_on_in_the_child() -> None:
    """Who forks in the middle releases the lock that it took, and can take it again."""
    script = (
        "import os, signal, sys\n"
        "from instance_lookup.cache.stats import Counters\n"
        "shared = Counters()\n"
        "with shared._lock:\n"
        "    child = os.fork()\n"
        "if child == 0:\n"
        "    signal.alarm(10)\n"
        "    shared.add('hits')\n"
        "    os._exit(shared.read().hits)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    assert run(script) == 1


def test_locks_are_renewed_at_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child inherits stays as it was, but for the lock."""
    counters = Counters()
    counters.add("hits")
    before = counters._lock
    monkeypatch.setattr(forks, "_all", {counters})
    with before:
        forks._start_all_anew()
        counters.add("hits")
    assert counters.read().hits == 2
    assert counters._lock is not before
