"""What code runs for: a request, or a block of ``use_instance``. So log lines can name it."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from django.core.handlers.asgi import ASGIRequest
from django.core.signals import request_finished, request_started

if TYPE_CHECKING:
    from django.http import HttpRequest

    from instance_lookup.context import LookupContext
    from instance_lookup.types import LookupResult


class Block:
    """What one ``use_instance`` has made current."""

    __slots__ = ("context", "is_over", "outer", "request", "result", "token", "user")

    token: Token[Block | None]
    """Of the context that it began in."""

    def __init__(self, context: LookupContext, result: LookupResult, user: Any) -> None:
        self.context = context
        """Who works in it, and as part of which request."""
        self.result = result
        self.user = user
        """The user as the code gave it: Django's, or a :class:`LookupUser`."""
        self.request = get()
        """The request that the block is part of: one that begins inside it has its own instance."""
        self.outer = _innermost.get()
        self.is_over = False
        """True where it ended before a block inside it: in a generator, or in another context."""


_request: ContextVar[HttpRequest | None] = ContextVar("instance_lookup_request", default=None)
_is_served: ContextVar[bool] = ContextVar("instance_lookup_is_served", default=False)
"""Whether a WSGI server, or a test client, has begun a request here and will end it."""
_innermost: ContextVar[Block | None] = ContextVar("instance_lookup_block", default=None)


def note(request: HttpRequest) -> HttpRequest | None:
    """Note which request the code of this context, and of its copies, runs for.

    Return the one before: that of a view which has others answered, as a batch does.
    """
    outer = _request.get()
    _request.set(request)
    return outer


def leave(outer: HttpRequest | None) -> None:
    """Note ``outer`` again, now that the request inside it is answered.

    Without one a request of a server stays noted until that is done with it: Django logs a 404
    after this, and a response may stream. Others have no such end, as those that a command makes.
    """
    request = _request.get()
    if outer is not None or not (_is_served.get() or isinstance(request, ASGIRequest)):
        _request.set(outer)


def get() -> HttpRequest | None:
    """Return the request that this code runs for; ``None``: for none, or that is not known."""
    return _request.get()


def block() -> Block | None:
    """Return the innermost block; ``None``: there is none, or a request has begun inside it."""
    found = _innermost.get()
    while found is not None and found.is_over:
        found = found.outer
    return found if found is not None and found.request is get() else None


def begin(context: LookupContext, result: LookupResult, user: Any) -> Block:
    """Begin a block in this context, and in what is copied from it."""
    begun = Block(context, result, user)
    begun.token = _innermost.set(begun)
    return begun


def end(begun: Block) -> None:
    """End a block that has begun."""
    if _innermost.get() is begun:
        # In a copy of its context this fails: an event loop closes a generator that is given up
        # in a task of its own.
        with suppress(ValueError):
            _innermost.reset(begun.token)
            return
    begun.is_over = True


class Kept:
    """Has the same be current after a ``with`` block as before; none of it within, if ``hidden``.

    For work that has others after it in its thread: a generator that it has not finished leaves its
    block, and a request that it has answered without a server stays noted.
    """

    __slots__ = ("_innermost", "_request")

    def __init__(self, *, hidden: bool = False) -> None:
        self._request = _request.set(None if hidden else _request.get())
        self._innermost = _innermost.set(None if hidden else _innermost.get())

    def restore(self) -> None:
        """Make current what was."""
        # Elsewhere it is not what was: a coroutine that is given up may be closed by any code.
        with suppress(ValueError):
            _request.reset(self._request)
            _innermost.reset(self._innermost)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        self.restore()


def _begin_serving(**kwargs: object) -> None:
    _request.set(None)
    _is_served.set(True)


def _end_serving(**kwargs: object) -> None:
    _request.set(None)
    _is_served.set(False)


# A thread of a WSGI server goes on with the next request in the same context, so it is forgotten
# before that begins, too.
request_finished.connect(_end_serving, dispatch_uid="instance_lookup.request.current")
request_started.connect(_begin_serving, dispatch_uid="instance_lookup.request.current")
