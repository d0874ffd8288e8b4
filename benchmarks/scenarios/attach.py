"""What the middleware costs a request that never touches the config, under WSGI and ASGI."""

from __future__ import annotations

import asyncio
from typing import Any

from django.http import HttpRequest, HttpResponse

from benchmarks.machine import cores, pin
from benchmarks.results import Bound, Effort, Result
from benchmarks.rounds import awaited, interleaved, repeated
from instance_lookup.middleware import InstanceConfigMiddleware

RESPONSE = HttpResponse()


def _view(_: HttpRequest) -> HttpResponse:
    return RESPONSE


async def _aview(_: HttpRequest) -> HttpResponse:
    return RESPONSE


def measure(effort: Effort) -> list[Result]:
    """Time a view that does nothing with and without the middleware around it."""
    core, _ = cores()
    pin(core)
    middleware: Any = InstanceConfigMiddleware(_view)
    amiddleware: Any = InstanceConfigMiddleware(_aview)
    loop = asyncio.new_event_loop()
    samples = interleaved(
        {
            "WSGI without": repeated(lambda: _view(HttpRequest())),
            "WSGI with": repeated(lambda: middleware(HttpRequest())),
            "ASGI without": awaited(loop, lambda: _aview(HttpRequest())),
            "ASGI with": awaited(loop, lambda: amiddleware(HttpRequest())),
        },
        rounds=effort.rounds(40),
        calls=effort.calls(5_000),
    )
    return [
        Result(
            title="A request that never touches the config",
            unit="µs",
            samples=samples,
            ours=("WSGI with", "ASGI with"),
            bounds=(
                Bound("WSGI with", 3, "WSGI without", how="more"),
                Bound("ASGI with", 3, "ASGI without", how="more"),
            ),
            placement=f"on core {core}",
        )
    ]
