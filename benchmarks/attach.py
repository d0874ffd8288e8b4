"""What the middleware costs a request that never touches the config, under WSGI and ASGI."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse

from benchmarks.rounds import Timing, interleaved
from instance_lookup.middleware import InstanceConfigMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

RESPONSE = HttpResponse()


def _view(_: HttpRequest) -> HttpResponse:
    return RESPONSE


async def _aview(_: HttpRequest) -> HttpResponse:
    return RESPONSE


def measure(*, rounds: int = 40, calls: int = 5_000) -> dict[str, Timing]:
    """Time a view that does nothing with and without the middleware around it."""
    middleware: Any = InstanceConfigMiddleware(_view)
    amiddleware: Any = InstanceConfigMiddleware(_aview)
    loop = asyncio.new_event_loop()
    try:
        return interleaved(
            {
                "WSGI without": lambda: _view(HttpRequest()),
                "WSGI with": lambda: middleware(HttpRequest()),
                "ASGI without": _in_loop(loop, _aview),
                "ASGI with": _in_loop(loop, amiddleware),
            },
            rounds=rounds,
            calls=calls,
        )
    finally:
        loop.close()


def _in_loop(loop: asyncio.AbstractEventLoop, view: Callable[[HttpRequest], Any]) -> Any:
    """Return a call that runs the view for one request; entering the loop costs both alike."""

    async def one() -> None:
        await view(HttpRequest())

    return lambda: loop.run_until_complete(one())
