"""Sockets and requests of ASGI, as a server drives them, without a server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from asgiref.testing import ApplicationCommunicator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

TIMEOUT = 30
"""Seconds to wait for what a busy machine does late."""
GONE = {"type": "websocket.disconnect", "code": 1001}


def scope_of(instance: str | None = None, *, kind: str = "websocket", **fields: Any) -> Any:
    """Return a scope as a server makes it; ``instance`` is named by the header."""
    headers = [(b"host", b"example.com"), (b"x-request-id", b"r-1")]
    if instance is not None:
        headers.append((b"x-instance-id", instance.encode()))
    made = {"type": kind, "path": "/ws/", "query_string": b"", "headers": headers}
    if kind == "http":
        made["method"] = "GET"
    return made | fields


class Socket:
    """The client's side of a socket."""

    def __init__(self, application: Any, scope: Any) -> None:
        # Not typed, like all of its methods.
        self._communicator: Any = ApplicationCommunicator(application, scope)  # type: ignore[no-untyped-call]

    async def put(self, message: dict[str, Any]) -> None:
        await self._communicator.send_input(message)

    async def take(self) -> Any:
        """Return what the application sends next."""
        return await self._communicator.receive_output(TIMEOUT)

    async def say(self, text: str = "hello") -> Any:
        """Send a message, and return the answer."""
        await self.put({"type": "websocket.receive", "text": text})
        return await self.take()

    async def connect(self) -> Any:
        await self.put({"type": "websocket.connect"})
        return await self.take()

    async def leave(self) -> None:
        """Hang up, and wait until the application has noticed."""
        await self.put(GONE)
        await self.ended()

    async def ended(self) -> None:
        """Wait for the end of the application. Raises what it raised."""
        await self._communicator.wait(TIMEOUT)

    def nothing_sent(self) -> bool:
        return bool(self._communicator.output_queue.empty())


@asynccontextmanager
async def opened(application: Any, scope: Any) -> AsyncIterator[Socket]:
    """Open a socket that the application accepts."""
    socket = Socket(application, scope)
    assert (await socket.connect())["type"] == "websocket.accept"
    yield socket


class Recorder:
    """An application that accepts, and answers each message with what ``answer`` returns.

    ``heard`` has the messages that it got.
    """

    def __init__(self, answer: Callable[[Any], Awaitable[str]]) -> None:
        self._answer = answer
        self.heard: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while not self.heard or self.heard[-1]["type"] != "websocket.disconnect":
            self.heard.append(await receive())
            if self.heard[-1]["type"] == "websocket.connect":
                await send({"type": "websocket.accept"})
            else:
                text = await self._answer(scope)
                await send({"type": "websocket.send", "text": text})


async def instance_id(scope: Any) -> str:
    """Answer with the id of the scope's instance."""
    found: str = (await scope["instance_config"]()).instance_id
    return found


async def hello(scope: Any) -> str:
    """Answer without asking for the instance."""
    return "hello"
