"""One course of decisions for the sync and the async twin, which differ in how they wait.

A generator yields steps and is sent what came of them; its driver decides where they run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from typing import Any, Never, Protocol, TypeVar

from django.dispatch import Signal
from msgspec import Struct

from instance_lookup.concurrency.deferred import NotLoaded
from instance_lookup.concurrency.pools import in_executor

T = TypeVar("T")


class Load(Struct, frozen=True):
    """What a decision needs to know of its user, and takes a query."""

    missing: NotLoaded

    def run(self) -> Never:
        """Refuse: a sync caller gets here in an event loop only, which is not to be blocked."""
        raise self.missing

    async def arun(self) -> None:
        """Load it, without blocking the event loop."""
        await self.missing.load()


class Blocking(Struct, frozen=True):
    """A call that waits for the network."""

    run: Callable[[], Any]

    async def arun(self) -> Any:
        """Run it in a thread of ours."""
        return await in_executor(self.run)


class Wait(Struct, frozen=True):
    """Something that is under way elsewhere, and how long to wait for it."""

    future: Future[Any]
    seconds: float

    def run(self) -> Any:
        """Return its result, ``None`` when time is up."""
        done, _ = wait([self.future], self.seconds)
        return self.future.result() if done else None

    async def arun(self) -> Any:
        """Return its result, ``None`` when time is up, without blocking the event loop.

        A coroutine that is cancelled here does not cancel the future for the others.
        """
        waiting = asyncio.wrap_future(self.future)
        done, _ = await asyncio.wait([waiting], timeout=self.seconds)
        return waiting.result() if done else None


class Notify(Struct, frozen=True):
    """A signal to send."""

    signal: Signal
    about: dict[str, Any]

    def run(self) -> object:
        """Send it. No receiver fails a lookup."""
        return self.signal.send_robust(None, **self.about)

    async def arun(self) -> object:
        """Send it from a coroutine, where receivers may be coroutines as well."""
        return await self.signal.asend_robust(None, **self.about)


class Step(Protocol):
    """What is waited for, in a thread or in an event loop."""

    def run(self) -> Any:
        """Wait in this thread, and return what came of it."""

    async def arun(self) -> Any:
        """Return what :meth:`run` does, without blocking the event loop. Raises as :meth:`run`."""


Steps = Generator[Step, Any, T]


def asking(ask: Callable[[], T], missing: NotLoaded | None = None) -> Steps[T]:
    """Return ``ask()``, having loaded what it needs of its user.

    ``missing`` is for callers who have asked already: most answers need no generator.
    """
    while True:
        if missing is not None:
            yield Load(missing)
        try:
            return ask()
        except NotLoaded as exc:
            missing = exc


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
    finally:
        steps.close()  # in the caller's context: what ends the caller does not go through it


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
    finally:
        steps.close()  # in the caller's context: being cancelled does not go through it
