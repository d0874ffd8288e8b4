"""What a forked child builds again: it has one thread, and the locks that other threads held.

Python calls :func:`check` in the child of each fork of its own. uWSGI forks below Python, which
does not notice: there the first use of a lock, a pool or a board of flights in the child calls it.
"""

from __future__ import annotations

import os
from threading import Lock
from weakref import WeakSet


class PerProcess:
    """Base of what belongs to the threads of one process."""

    def __init__(self) -> None:
        check()  # else this might be added while another thread goes through them all
        self._start_over()
        _all.add(self)

    def _start_over(self) -> None:
        """Set what a child must not have from its parent.

        Code that relies on it takes the lock, or calls :func:`check`, first.
        """


class Guarded(PerProcess):
    """Base of what threads share: ``with self._lock:`` around what must not be interleaved.

    The child gets another lock rather than the old one released: a thread that forks while it
    holds the lock goes on in the child, and releases there the one that it took.
    """

    @property
    def _lock(self) -> Lock:
        check()
        return self._lock_of_process

    def _start_over(self) -> None:
        self._lock_of_process = Lock()


_all: WeakSet[PerProcess] = WeakSet()
_process = os.getpid()
"""The process that all of them belong to."""
_gates: dict[int, Lock] = {}
"""A lock for each process: a fork cannot have left the child's locked, since it is made there."""


def check() -> None:
    """Start everything over if this process is the child of the one that they belong to.

    It costs a system call: use no lock where a lookup is answered from memory.
    """
    if os.getpid() != _process:
        _start_all_over()


def _start_all_over() -> None:
    global _process  # noqa: PLW0603  # of threads that come together, one starts all over
    pid = os.getpid()
    # "setdefault" is one step: threads that come together use one gate.
    with _gates.setdefault(pid, Lock()):
        if _process == pid:
            return
        for one in _all:
            one._start_over()  # noqa: SLF001
        # Last: until then other threads wait at the gate, so none uses what is replaced yet.
        _process = pid


os.register_at_fork(after_in_child=check)
