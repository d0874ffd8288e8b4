"""The process that listens: has each event of the stream take effect, one after another."""

from __future__ import annotations

import logging
from threading import Event as Flag
from time import monotonic
from typing import TYPE_CHECKING

from django.db import connections

from instance_lookup.backends.base import describe
from instance_lookup.exceptions import CacheError
from instance_lookup.push.changes import apply, parse
from instance_lookup.push.stream_connection import Cause, StreamLost, connect
from instance_lookup.resilience.backoff import Pauses

if TYPE_CHECKING:
    from instance_lookup.push.changes import Change
    from instance_lookup.push.stream_connection import Connection
    from instance_lookup.push.stream_lease import Bookmark, Lease
    from instance_lookup.push.stream_parser import Event
    from instance_lookup.resilience.health import Health
    from instance_lookup.resolver import InstanceResolver

logger = logging.getLogger("instance_lookup")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between two tries to connect: at first, and after many failures."""
_SHORTEST_RETRY = 0.1
"""Seconds: what a service may ask for at least by ``retry``; at most ``LONGEST_PAUSE``."""
_PATIENCE = 10.0
"""Seconds for which a change is tried again that the cache does not take."""
_EVENTS, _EFFECTS = "events", "effects"
"""Parts of its health that are not lost with the stream."""
_UNTAKEN = Cause("")  # of which another line has told


class Term:
    """The time for which this process listens: while it holds the lease, and is not told to end.

    One thread runs it. Another one may :meth:`end` it.
    """

    def __init__(
        self, resolver: InstanceResolver, lease: Lease, bookmark: Bookmark, health: Health
    ) -> None:
        """Listen for ``resolver``, whose backend speaks HTTP, and go on after the ``bookmark``.

        ``health`` outlives it: the next term of this process knows what the log has said.
        """
        self.over = Flag()
        self._resolver, self._lease = resolver, lease
        self._bookmark, self._health = bookmark, health
        self._pauses = Pauses(FIRST_PAUSE, LONGEST_PAUSE)
        self._connection: Connection | None = None
        self._has_heard = False
        """Whether a line came on the last connection."""

    @property
    def is_connected(self) -> bool:
        """Whether the service sends."""
        return self._connection is not None and self._has_heard

    def end(self) -> None:
        """Have it end at once, wherever it waits."""
        self.over.set()
        if (connection := self._connection) is not None:
            connection.close()

    def run(self) -> None:
        """Listen until it is over, and connect again whenever the stream is lost."""
        try:
            while self._goes_on:
                try:
                    self._listen()
                except StreamLost as exc:
                    self._lost(exc)
                    pause = exc.pause
                except Exception as exc:  # noqa: BLE001  # of a backend's own "make_session", say
                    self._lost(StreamLost(type(exc).__name__), bug=exc)
                    pause = 0.0
                self.over.wait(max(pause, self._pauses.next()))
        finally:
            self.over.set()
            connections.close_all()

    @property
    def _goes_on(self) -> bool:
        return self._lease.is_held and not self.over.is_set()

    def _listen(self) -> None:
        """Take what comes on one connection. Raises :class:`StreamLost` at its end."""
        self._has_heard = False
        if (owed := self._bookmark.owed) is not None:
            self._apply(owed)
        backend, settings = self._resolver.backend, self._resolver.settings
        self._connection = connection = connect(backend, settings, self._bookmark.read())
        try:
            if self.over.is_set():  # between the two lines above: "end" has not seen it
                connection.close()
            for event in connection.events():
                # A process that stood still may have lost the lease: another one hears this.
                if not self._goes_on:
                    raise StreamLost("another process listens")
                self._hear()
                if event is not None:
                    self._take(event)
        finally:
            self._connection = None
            if connection.retry is not None:
                self._pauses.first = min(max(connection.retry, _SHORTEST_RETRY), LONGEST_PAUSE)
            connection.release()

    def _hear(self) -> None:
        if not self._has_heard:
            self._pauses.start_over()
            self._health.ok(
                line=f"Receiving changes from {self._service} again: they are seen at once."
            )
            self._has_heard = True

    def _take(self, event: Event) -> None:
        """Have an event take effect, and then note that it has."""
        change = None
        if event.is_too_long:
            self._pass_over("it is too long")
        elif event.data and event.name == "message":
            try:
                change = parse(event.data)
            except ValueError as exc:
                self._pass_over(str(exc))
        if change is not None:
            self._apply(change)
        if event.id is not None:
            self._bookmark.write(event.id)
        connections.close_all()  # it may be long until the next: the cache may be in a database

    def _apply(self, change: Change) -> None:
        """Apply a change. Raises :class:`StreamLost` if the cache does not take it for long.

        Then it stays owed, and comes before all others. Another process that listens meanwhile is
        sent it again, since the bookmark stands before it.
        """
        self._bookmark.owed = change
        pauses, give_up = Pauses(0.1, 1.0), monotonic() + _PATIENCE
        while True:
            try:
                apply(change, self._resolver)
            except CacheError as exc:
                if not self._goes_on or monotonic() >= give_up:
                    raise self._refused(change, exc) from None
                self.over.wait(pauses.next())
            except Exception as exc:  # noqa: BLE001  # a bug: it must not keep the others back
                self._pass_over(f"{type(exc).__name__} in our own code", bug=exc)
                break
            else:
                self._health.ok(_EVENTS, f"Events of {self._service} are understood again.")
                self._health.ok(_EFFECTS, f"Changes from {self._service} reach the cache again.")
                break
        self._bookmark.owed = None

    def _refused(self, change: Change, error: CacheError) -> StreamLost:
        """Note that the cache did not take a change, and return why to connect again."""
        reason = type(error).__name__
        self._health.failed(
            reason,
            f"The cache {self._resolver.settings.cache_alias!r} did not take a change of"
            f" {change.kind} {change.id!r} that {self._service} told of ({reason}). This"
            " process tries until the cache takes it. The change is seen after CACHE_TTL at the"
            " latest.",
            part=_EFFECTS,
        )
        return StreamLost(f"the cache: {reason}", _UNTAKEN)

    def _pass_over(self, why: str, bug: Exception | None = None) -> None:
        self._health.failed(
            why,
            f"An event of {self._service} is skipped ({why}). Its change is seen after CACHE_TTL at"
            " the latest. docs/reference/config-service.md says what an event may be.",
            part=_EVENTS,
            bug=bug,
        )

    def _lost(self, lost: StreamLost, bug: Exception | None = None) -> None:
        """Note that there is no stream.

        One that worked until now may end: whether it is lost is told by the next try.
        """
        cause = lost.cause
        if self._goes_on and not self._has_heard and cause is not _UNTAKEN:
            self._health.failed(
                cause.advice,
                f"Not receiving changes from {self._service} ({lost}). They are seen after"
                f" CACHE_TTL at the latest. {cause.advice}",
                cause.level,
                bug=bug,
            )

    @property
    def _service(self) -> str:
        found = describe(self._resolver.backend)
        return found[0].lower() + found[1:]
