"""The two ways in which a process forks, as what a script says to do it."""

from __future__ import annotations

FORKS = {
    "by Python": "__import__('os').fork()",
    # As uWSGI does: Python does not notice, and runs none of its hooks. PyDLL keeps the GIL. The
    # pause lets other threads come to where they wait: Python itself is broken in the child if one
    # of them asked for the GIL at that moment.
    "below Python": "[__import__('time').sleep(0.1), __import__('ctypes').PyDLL(None).fork()][1]",
}
