"""Every pool of threads that there is, and how to wait for one in an event loop.

Together they have 588 threads at most, where every kind of work is under way at the same moment;
a process that only serves from its cache has none. Each starts when it is needed and ends when it
is idle. They are apart because a job must never wait for a job of its own pool, and because one
kind of work that hangs must not take the threads of another.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from instance_lookup.concurrency.threads import DaemonPool

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

_BRIEF = 0.5
"""Seconds: these jobs come in bursts, during outages."""

event_loops = DaemonPool("instance-lookup", max_workers=32)
"""What coroutines may not do themselves, because it blocks: a read of the cache, a query.

Not Django's ``thread_sensitive`` thread: there a slow Config Service would hold up every ORM call.
"""
FLIGHTS = 256
"""Fetches at one time: as many as a restart of the cache leaves to do, with a slow service."""
FLIGHTS_OF_ONE_USER = FLIGHTS // 4
"""So many of them may be of one user: three who take all they can leave a quarter to the others."""
flights = DaemonPool(
    "instance-lookup-flight",
    max_workers=FLIGHTS,
    idle_seconds=_BRIEF,
    most=2 * FLIGHTS,
    waiting=4 * FLIGHTS,
)
"""One fetch each: callers wait for it, and may leave before it ends.

As many again may wait for a thread. Those that come after them are told at once that it is full.
"""
fetches = DaemonPool("instance-lookup-fetch", max_workers=FLIGHTS, idle_seconds=_BRIEF)
"""Calls of the Config Service beside another process, for which a flight waits."""
refreshes = DaemonPool("instance-lookup-refresh", max_workers=32)
"""``arefresh()``: it always asks the service, and takes as long as that does."""
reads = DaemonPool("instance-lookup-read", max_workers=8, idle_seconds=_BRIEF)
"""Reads of a database cache outside the caller's transaction."""
names = DaemonPool("instance-lookup-dns", max_workers=4, idle_seconds=_BRIEF)
"""``getaddrinfo``, which cannot be interrupted: a thread that hangs in it is left behind."""


async def in_executor(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``function(*args, **kwargs)``, run in a thread for event loops."""
    return await in_pool(event_loops, function, *args, **kwargs)


async def in_pool(
    pool: DaemonPool, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Return ``function(*args, **kwargs)``, run in a thread of ``pool``."""
    return await asyncio.wrap_future(pool.submit(lambda: function(*args, **kwargs)))
