from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from django.dispatch import Signal

from instance_lookup.concurrency.deferred import NotLoaded
from instance_lookup.concurrency.pools import in_executor
from instance_lookup.concurrency.steps import Blocking, Notify, Steps, Wait, adrive, asking, drive
from instance_lookup.users import user_context
from tests.support.doors import Somebody

if TYPE_CHECKING:
    from collections.abc import Callable


def run(steps: Callable[[], Steps[Any]], how: str) -> Any:
    return drive(steps()) if how == "sync" else asyncio.run(adrive(steps()))


pytestmark = pytest.mark.parametrize("how", ["sync", "async"])


def test_outcomes_are_sent_and_result_returned(how: str) -> None:
    """Each step's outcome comes back to the generator, and its return value out."""

    def steps() -> Steps[str]:
        first = yield Blocking(lambda: 1)
        second = yield Blocking(lambda: first + 1)
        return f"{first}{second}"

    assert run(steps, how) == "12"


def test_generator_without_steps(how: str) -> None:
    """A generator may return without a step."""

    def steps() -> Steps[str]:
        return "at once"
        yield Blocking(list)  # type: ignore[unreachable]

    assert run(steps, how) == "at once"


def test_errors_are_thrown_into_the_generator(how: str) -> None:
    """The generator decides what to do about an error of a step."""

    def steps() -> Steps[list[int]]:
        caught = []
        for divisor in (0, 1):
            try:
                yield Blocking(partial(divmod, 1, divisor))
            except ZeroDivisionError:
                caught.append(divisor)
        return caught

    assert run(steps, how) == [0]


def test_errors_that_nobody_catches_come_out(how: str) -> None:
    """An error that the generator does not catch is raised after its clean-up."""
    cleaned = []

    def steps() -> Steps[str]:
        try:
            return (yield Blocking(partial(dict[str, str]().__getitem__, "missing")))  # type: ignore[no-any-return]
        finally:
            cleaned.append(True)

    with pytest.raises(KeyError, match="missing"):
        run(steps, how)
    assert cleaned == [True]


def test_stop_iteration_of_a_step_is_an_error(how: str) -> None:
    """StopIteration of a step is an error, not the end of the generator."""

    def steps() -> Steps[str]:
        yield Blocking(lambda: next(iter(())))
        return "not reached"

    with pytest.raises(RuntimeError, match="StopIteration"):
        run(steps, how)


def test_what_the_user_lacks_is_loaded(how: str) -> None:
    """Data of the user that is not loaded yet is loaded, in an event loop too."""

    def steps() -> Steps[Any]:
        who = user_context(Somebody("7", tenant_ids=("t1",)))
        return (yield from asking(lambda: who.tenant_ids))

    assert run(steps, how) == {"t1"}


def test_what_the_user_lacks_is_not_loaded_by_a_sync_caller_in_a_loop(how: str) -> None:
    """In an event loop a sync caller gets an error instead of a blocking query."""
    who = user_context(Somebody("7", tenant_ids=("t1",)))

    async def blocking() -> object:
        return drive(asking(lambda: who.tenant_ids))

    if how == "sync":
        with pytest.raises(NotLoaded, match="async twin"):
            asyncio.run(blocking())
    else:
        assert asyncio.run(adrive(asking(lambda: who.tenant_ids))) == {"t1"}


def test_blocking_steps_leave_the_event_loop_alone(how: str) -> None:
    """Sync work runs where it is; in a coroutine it runs in a thread of ours."""

    def steps() -> Steps[str]:
        return (yield Blocking(lambda: threading.current_thread().name))  # type: ignore[no-any-return]

    here = threading.current_thread().name
    assert run(steps, how) == (here if how == "sync" else "instance-lookup")


def test_notify_sends_the_signal(how: str) -> None:
    """Receivers, plain ones and coroutines, are told; one that raises fails nothing."""
    signal, told = Signal(), []

    def broken(**about: Any) -> None:
        raise ValueError

    def plain(**about: Any) -> None:
        told.append(("plain", about["instance_id"]))

    async def asynchronous(**about: Any) -> None:
        told.append(("async", about["instance_id"]))

    for receiver in (broken, plain, asynchronous):
        signal.connect(receiver)

    def steps() -> Steps[str]:
        yield Notify(signal, {"instance_id": "acme"})
        return "done"

    assert run(steps, how) == "done"
    assert sorted(told) == [("async", "acme"), ("plain", "acme")]


def test_in_executor_passes_everything_on(how: str) -> None:
    """``in_executor`` passes on arguments, the result and an error."""
    assert asyncio.run(in_executor(divmod, 7, 2)) == (3, 1)
    assert asyncio.run(in_executor(int, "ff", base=16)) == 255
    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(in_executor(partial(int, "x")))


def waits(future: Future[Any], seconds: float) -> Steps[Any]:
    return (yield Wait(future, seconds))


def flying() -> Future[Any]:
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


def test_wait_returns_the_result(how: str) -> None:
    """``wait`` returns the result, also when it takes a moment."""
    future = flying()
    threading.Timer(0.02, future.set_result, ["done"]).start()
    assert run(lambda: waits(future, 5), how) == "done"


def test_wait_raises_the_error(how: str) -> None:
    """The generator decides what to do about it."""
    future = flying()
    future.set_exception(KeyError("acme"))
    with pytest.raises(KeyError, match="acme"):
        run(lambda: waits(future, 5), how)


@pytest.mark.parametrize("seconds", [0, 0.02])
def test_wait_gives_up(how: str, seconds: float) -> None:
    """``wait`` returns ``None`` when the time is up; other waiters go on."""
    future = flying()
    assert run(lambda: waits(future, seconds), how) is None
    future.set_result("late")
    assert run(lambda: waits(future, seconds), how) == "late"


def test_wait_of_a_cancelled_coroutine(how: str) -> None:
    """A cancelled coroutine cancels its own wait, not the future."""
    future = flying()

    async def cancelled() -> None:
        task = asyncio.ensure_future(adrive(waits(future, 5)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    future.set_result("done")
    assert run(lambda: waits(future, 5), how) == "done"
