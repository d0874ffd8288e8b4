"""Every error this package raises.

::

    InstanceLookupError
    ├── InvalidContext             400  (also a BadRequest)
    ├── AccessDenied               403  (also a PermissionDenied)
    │   └── InstanceBlocked        403
    ├── InstanceNotFound           404  (also an Http404)
    ├── ConfigServiceUnavailable   503
    │   └── MissBudgetSpent        429
    ├── RateLimitExceeded          429
    ├── RateLimitUnavailable       503
    └── CacheError                 500  (cache management only, never from ``resolve``)

    InstanceRequired: a mistake in the site's code, and no answer to anyone

The Django bases turn an error that is not caught into the right response.

The page docs/reference/errors.md is made of this module. After a change run
``python -m tests.reference``.
"""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from traceback import clear_frames, walk_tb
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_CARRIERS = frozenset({"http.client", "urllib3.connection", "urllib3.connectionpool"})
"""Modules whose functions have a request in their hands: its bytes, or, in older releases of
urllib3, a copy of its headers."""


class LookupErrorType(StrEnum):
    """What went wrong, for programs."""

    INVALID_CONTEXT = "INVALID_CONTEXT"
    ACCESS_DENIED = "ACCESS_DENIED"
    INSTANCE_NOT_FOUND = "INSTANCE_NOT_FOUND"
    CONFIG_SERVICE_UNAVAILABLE = "CONFIG_SERVICE_UNAVAILABLE"
    MISS_BUDGET_SPENT = "MISS_BUDGET_SPENT"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    RATE_LIMIT_UNAVAILABLE = "RATE_LIMIT_UNAVAILABLE"
    CACHE_ERROR = "CACHE_ERROR"


class InstanceLookupError(Exception):
    """Base of every error of this package.

    Its message names the instance. Neither the message nor an attribute holds a secret.
    """

    type: ClassVar[LookupErrorType]
    """What went wrong, for programs."""
    status_code: ClassVar[int]
    """The HTTP status of the answer."""
    retry_after: float | None
    """Seconds until asking again makes sense. ``None``: it makes none, or that is not known."""
    details: dict[str, Any]
    """What else is known, for logs and programs, such as ``reason``."""

    def __init__(self, message: str, *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.details = details

    @property
    def instance_id(self) -> str | None:
        """The instance that was asked for, where one was named."""
        return self.details.get("instance_id")


class InvalidContext(InstanceLookupError, BadRequest):
    """The request names no instance, a malformed one, or two that differ."""

    type = LookupErrorType.INVALID_CONTEXT
    status_code = 400


class AccessDenied(InstanceLookupError, PermissionDenied):
    """The caller may not have this instance: the policy or the Config Service refuses them."""

    type = LookupErrorType.ACCESS_DENIED
    status_code = 403


class InstanceBlocked(AccessDenied):
    """The site has blocked this instance for a time. No user gets it.

    The answer is that of ``AccessDenied``: callers do not learn of the block.
    """


class InstanceNotFound(InstanceLookupError, Http404):
    """The Config Service does not know this instance (or project)."""

    type = LookupErrorType.INSTANCE_NOT_FOUND
    status_code = 404


class ConfigServiceUnavailable(InstanceLookupError):
    """The Config Service gave no usable answer, and the cache has no copy that may be served.

    ``details["reason"]`` says why, such as ``timeout``. docs/operations/troubleshooting.md has each
    reason, and what to do.
    """

    type = LookupErrorType.CONFIG_SERVICE_UNAVAILABLE
    status_code = 503


class MissBudgetSpent(ConfigServiceUnavailable):
    """The user has asked for more ids that do not exist than ``MISS_BUDGET`` allows in a minute."""

    type = LookupErrorType.MISS_BUDGET_SPENT
    status_code = 429


class RateLimitExceeded(InstanceLookupError):
    """The instance has called a throttled view more often than its configuration allows.

    ``details["limit"]`` has the name of the limit. docs/how-to/throttling.md has the views.
    """

    type = LookupErrorType.RATE_LIMIT_EXCEEDED
    status_code = 429


class RateLimitUnavailable(InstanceLookupError):
    """A call of a throttled view cannot be counted, and ``THROTTLE_FAIL_OPEN`` is off."""

    type = LookupErrorType.RATE_LIMIT_UNAVAILABLE
    status_code = 503


class CacheError(InstanceLookupError):
    """The cache did not do what was asked of it, such as to invalidate an entry.

    Only cache management raises it. A lookup never does: it asks the Config Service instead.
    """

    type = LookupErrorType.CACHE_ERROR
    status_code = 500


class InstanceRequired(RuntimeError):
    """Code asks for the current instance outside of a block, a task and a request.

    It is a mistake in the site's code, so it is no ``InstanceLookupError``, and Django answers 500.
    """


class CacheUnwritable(CacheError):
    """The cache did not take what was to be stored: it may be full, or a replica."""


def forget_locals(
    error: BaseException, forget: Callable[[TracebackType | None], None] = clear_frames
) -> None:
    """Clear the local variables of all that an error, and each error behind it, came through.

    They may hold API keys, in the frames of other packages too, and debug pages and error trackers
    show them. The lines of the traceback stay. Frames that still run keep their variables, and what
    a caller is handling at the same time stays as it is. ``forget`` clears one traceback.
    """
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen or (one is not error and _is_being_handled(one)):
            continue
        seen.add(id(one))
        forget(one.__traceback__)
        waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def forget_request(error: BaseException) -> None:
    """Clear what HTTP clients leave of a request in an error, and in each error behind it.

    Where they cannot connect, their local variables hold its credential.
    """
    forget_locals(error, _clear_carriers)


def _clear_carriers(trace: TracebackType | None) -> None:
    for frame, _ in walk_tb(trace):
        if frame.f_globals.get("__name__") in _CARRIERS:
            with suppress(RuntimeError):  # it still runs
                frame.clear()


def _is_being_handled(error: BaseException) -> bool:
    """Tell whether the function that caught ``error`` is still running."""
    if error.__traceback__ is None:
        return False
    try:
        error.__traceback__.tb_frame.clear()
    except RuntimeError:
        return True
    return False
