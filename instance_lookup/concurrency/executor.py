"""Blocking work off the event loop, in threads of our own.

Not in Django's ``thread_sensitive`` one: there a slow Config Service would hold up every ORM call.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from instance_lookup.concurrency.threads import DaemonPool

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

pool = DaemonPool("instance-lookup", max_workers=32)


async def in_executor(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``function(*args, **kwargs)``, run in one of our threads."""
    return await in_pool(pool, function, *args, **kwargs)


async def in_pool(
    other: DaemonPool, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Do so in a thread of another pool."""
    return await asyncio.wrap_future(other.submit(lambda: function(*args, **kwargs)))
