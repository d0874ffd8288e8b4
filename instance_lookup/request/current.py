"""The request that code runs for, so that log lines can name it.

Nothing is kept until something asks for it, see :func:`use`.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from django.core.signals import request_finished, request_started

if TYPE_CHECKING:
    from django.http import HttpRequest

is_used = False
"""Read it as ``current.is_used``."""
_request: ContextVar[HttpRequest | None] = ContextVar("instance_lookup_request", default=None)


def use() -> None:
    """Keep the request of each context from now on."""
    global is_used  # noqa: PLW0603
    is_used = True
    # Not when the view has answered: Django logs a 404 after that. A thread of a WSGI server goes
    # on with the next request in the same context, so it is forgotten before that begins, too.
    request_finished.connect(_forget, dispatch_uid="instance_lookup.request.current")
    request_started.connect(_forget, dispatch_uid="instance_lookup.request.current")


def note(request: HttpRequest) -> None:
    """Note which request the code of this context, and of its copies, runs for."""
    _request.set(request)


def get() -> HttpRequest | None:
    """Return the request that this code runs for; ``None``: for none, or that is not known."""
    return _request.get()


def _forget(**kwargs: object) -> None:
    _request.set(None)
