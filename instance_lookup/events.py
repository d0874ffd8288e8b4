"""What happens inside, for those who watch: metrics, traces, reports.

Nothing is made or counted while nothing watches: code that could tell asks ``watchers`` first.

Hits in the near cache are no events, which would cost more than the hits: read their number from
``get_cache_stats().near_hits``.

The page docs/reference/metrics.md takes from here what labels mean. After a change run
``python -m tests.reference``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from msgspec import Struct

logger = logging.getLogger("instance_lookup")


class Began(Struct, frozen=True):
    """A lookup or a call begins. Its end is told in the same context, unless the process ends."""

    what: str
    """``"lookup"`` or ``"service_call"``."""
    headers: dict[str, str] = {}
    """Of a call: a watcher may add headers, which are sent with it."""


class Lookup(Struct, frozen=True):
    """A lookup has ended."""

    source: str | None
    """Where the answer came from: ``"cache"``, ``"service"`` or ``"stale_cache"``."""
    outcome: str
    """``"ok"``; the ``LookupErrorType`` of its error in lower case, such as ``"access_denied"``;
    ``"cancelled"``, where the caller went away; or ``"error"`` for a bug, such as in your own
    policy."""
    seconds: float
    stale_age: float | None = None
    """Seconds since a stale copy was fetched."""
    runway: float | None = None
    """Seconds for which that copy may still be served."""
    instance_id: str | None = None
    """What was found, or what the error names."""


class ServiceCall(Struct, frozen=True):
    """A call to the Config Service has ended."""

    kind: str
    """``"instance"`` or ``"project"``."""
    asked: str
    """The id."""
    outcome: str
    """``"ok"``; ``"not_modified"`` (304); ``"denied"`` (403); ``"missing"`` (404); or the reason of
    a failure, such as ``"timeout"``."""
    status: int | None
    """Of the answer, where there was one and it is known."""
    began: float
    """Unix time."""
    seconds: float
    request_id: str


class CacheOperation(Struct, frozen=True):
    """A read or write of the shared cache has ended."""

    operation: str
    """``"read"``, ``"write"``, ``"invalidate"`` or ``"expire"``."""
    outcome: str
    """Of a read: ``"hit"``, ``"stale"`` or ``"miss"``. Of others: ``"ok"``. Of all: ``"error"``, or
    ``"skipped"`` while a failing cache is left alone."""
    seconds: float


class Denial(Struct, frozen=True):
    """A user was refused an instance."""

    by: str
    """``"policy"``, ``"service"``, or ``"block"`` of the instance; ``"anonymous"``: refused before
    anything was looked at."""


class Rejection(Struct, frozen=True):
    """Something was refused that is not as it should be."""

    reason: str
    """``"document"``: an answer of the Config Service. ``"part"``: a part of one; the rest is used.
    ``"entry"``: an entry of the cache. Only with ``ENCRYPTION_KEYS``: ``"outdated"``, an entry of
    another generation than the cache's, such as one from before an ``invalidate_all``;
    ``"generation"``, one that no key has made; ``"replayed"``, one older than another that this
    process knows of: docs/explanation/security.md#sealing."""


class Invalidation(Struct, frozen=True):
    """Entries were invalidated, or expired."""

    scope: str
    """``"instance"``, ``"project"`` or ``"all"``."""
    origin: str
    """``"here"``: this process invalidated. ``"heard"``: on the channel of Redis. A process hears
    its own messages too, and those about what the Config Service no longer knows."""


class Delivered(Struct, frozen=True):
    """A delivery to the webhook was answered."""

    outcome: str
    """``"done"``; ``"repeated"``: it had its effect before; ``"ignored"``: its type is not known;
    ``"malformed"``; ``"unsigned"``; ``"limited"``: there are too many; ``"pending"``: another one
    of the same id is under way; ``"unavailable"``: the cache fails."""


Event = (
    Began | Lookup | ServiceCall | CacheOperation | Denial | Rejection | Invalidation | Delivered
)
Watcher = Callable[[Event], object]

watchers: tuple[Watcher, ...] = ()
"""Read it as ``events.watchers``: it is replaced, not changed."""
_failed: list[Watcher] = []
"""Those of which the log has a traceback."""


def watch(watcher: Watcher) -> None:
    """Have ``watcher`` called with each event, in the thread in which it happens."""
    global watchers  # noqa: PLW0603  # one tuple, replaced whole, is read without a lock
    if watcher not in watchers:
        watchers = (*watchers, watcher)


def unwatch(watcher: Watcher) -> None:
    """Stop calling ``watcher``."""
    global watchers  # noqa: PLW0603
    watchers = tuple(each for each in watchers if each != watcher)
    _failed[:] = [each for each in _failed if each != watcher]


def tell(event: Event) -> None:
    """Call each watcher. One that fails is logged once, and neither stops others nor the lookup."""
    handled = sys.exception()  # such as the error that the event is about
    for watcher in watchers:
        try:
            watcher(event)
        except Exception as exc:
            if watcher not in _failed:  # else there would be a traceback for each lookup
                _failed.append(watcher)
                _part(exc, handled)
                logger.exception("A watcher of instance_lookup failed; lookups are not affected.")


def _part(error: BaseException, handled: BaseException | None) -> None:
    """Have ``error`` not lead to the one that was being ``handled`` when the watcher was called.

    Debug pages and error trackers show the frames of both, and those of a call hold documents.
    """
    one: BaseException | None = error
    while one is not None:
        if one.__context__ is handled:
            one.__context__ = None
        one = one.__context__
