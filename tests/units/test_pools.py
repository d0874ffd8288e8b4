"""Blocking work runs in threads of our own."""

from __future__ import annotations

import threading

import pytest

from instance_lookup.concurrency.pools import in_executor, in_pool
from instance_lookup.concurrency.threads import DaemonPool


async def test_in_executor_thread() -> None:
    """The function runs in a thread of ours, not in the loop's or Django's sensitive one."""
    thread = await in_executor(threading.current_thread)
    assert thread.name == "instance-lookup"
    assert thread.daemon


async def test_in_executor_arguments() -> None:
    """``in_executor`` passes on all arguments."""

    def function(*args: int, **kwargs: int) -> tuple[object, ...]:
        return args, kwargs

    assert await in_executor(function, 1, two=2) == ((1,), {"two": 2})


async def test_in_executor_error() -> None:
    """An error comes out where it is awaited."""
    with pytest.raises(ZeroDivisionError):
        await in_executor(divmod, 1, 0)


async def test_in_pool_thread() -> None:
    """``in_pool`` runs the function in the named pool, with its arguments."""

    def function(*args: int, **kwargs: int) -> tuple[object, ...]:
        return threading.current_thread().name, args, kwargs

    pool = DaemonPool("test-other", 1)
    assert await in_pool(pool, function, 1, two=2) == ("test-other", (1,), {"two": 2})
