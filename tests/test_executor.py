"""Blocking work runs in threads of our own."""

from __future__ import annotations

import threading

import pytest

from instance_lookup.executor import in_executor


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
