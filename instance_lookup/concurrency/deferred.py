"""Values whose first read does I/O, so that it is refused in an event loop."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class NotLoaded(SynchronousOnlyOperation):
    """A value takes I/O that has not been done, and an event loop is running."""

    def __init__(self, holder: object, name: str) -> None:
        super().__init__(f"{name!r} of {holder!r} takes a query: use the async twin.")
        self.holder, self.name = holder, name

    async def load(self) -> None:
        """Do the I/O, in the thread that Django keeps for it."""
        await sync_to_async(getattr)(self.holder, self.name)


async def call_when_loaded(ask: Callable[[], T]) -> T:
    """Return ``ask()``, and first load what it needs of its user. Does not block the loop."""
    while True:
        try:
            return ask()
        except NotLoaded as missing:
            await missing.load()


class deferred(cached_property[T]):  # noqa: N801  # lower case like cached_property, which it is
    """A cached property that does I/O: its first read raises ``NotLoaded`` in an event loop."""

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is not None and in_event_loop():
            raise NotLoaded(instance, cast("str", self.attrname))
        return super().__get__(instance, owner)


def in_event_loop() -> bool:
    """Tell whether this thread is running an event loop, which must not be blocked."""
    return asyncio._get_running_loop() is not None  # noqa: SLF001  # the other one raises
