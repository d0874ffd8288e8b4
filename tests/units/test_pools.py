"""Blocking work runs in threads of our own."""

from __future__ import annotations

import threading

import pytest

from instance_lookup.concurrency.pools import in_executor, in_pool
from instance_lookup.concurrency.threads import DaemonPool


async def test_in_executor_thread() -> None:
    """Neither the event loop's thread nor Django's thread-sensitive one is held up."""
    thread = await in_executor(threading.current_thread)
    assert thread.name == "instance-lookup"
    assert thread.daemon


async def test_in_executor_arguments() -> None:
    """Arguments are handed on."""

    def function(*args: int, **kwargs: int) -> tuple[object, ...]:
        return args, kwargs

    assert await in_executor(function, 1, two=2) == ((1,), {"two": 2})


async def test_in_executor_error() -> None:
    """An error comes out where it is awaited."""
    with pytest.raises(ZeroDivisionError):
        await in_executor(divmod, 1, 0)


async def test_in_pool_thread() -> None:
    """Of the pool that is named, arguments and all: what may take long holds up no lookup."""

    def function(*args: int, **kwargs: int) -> tuple[object, ...]:
        return threading.current_thread().name, args, kwargs

    pool = DaemonPool("test-other", 1)
    assert await in_pool(pool, function, 1, two=2) == ("test-other", (1,), {"two": 2})
