"""One course of decisions for the sync and the async twin, which differ in how they wait.

A generator yields steps and is sent what came of them; who drives it decides where they run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from instance_lookup.executor import in_executor
from instance_lookup.users import once_loaded

if TYPE_CHECKING:
    from django.dispatch import Signal

T = TypeVar("T")


class AskUser(NamedTuple):
    """Something quick, that may turn out to need a query about the user."""

    run: Callable[[], Any]

    async def arun(self) -> Any:
        """Run it here, loading the user as needed."""
        return await once_loaded(self.run)


class Blocking(NamedTuple):
    """Something that waits for the network."""

    run: Callable[[], Any]

    async def arun(self) -> Any:
        """Run it in a thread of ours."""
        return await in_executor(self.run)


class Notify(NamedTuple):
    """A signal to send."""

    signal: Signal
    about: dict[str, Any]

    def run(self) -> object:
        """Send it. No receiver fails a lookup."""
        return self.signal.send_robust(None, **self.about)

    async def arun(self) -> object:
        """Send it from a coroutine, where receivers may be coroutines as well."""
        return await self.signal.asend_robust(None, **self.about)


Steps = Generator[AskUser | Blocking | Notify, Any, T]


def drive(steps: Steps[T]) -> T:
    """Run the steps in this thread, and return what the generator returns."""
    try:
        step = next(steps)
        while True:
            try:
                outcome = step.run()
            except Exception as exc:  # noqa: BLE001  # the generator decides
                step = steps.throw(exc)
            else:
                step = steps.send(outcome)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # what Steps[T] promises


async def adrive(steps: Steps[T]) -> T:
    """Run the steps without blocking the event loop, and return what the generator returns."""
    try:
        step = next(steps)
        while True:
            try:
                outcome = await step.arun()
            except Exception as exc:  # noqa: BLE001  # the generator decides
                step = steps.throw(exc)
            else:
                step = steps.send(outcome)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
