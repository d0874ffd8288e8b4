"""The event stream of the Config Service, if ``CONFIG_SERVICE_STREAM``: one listens for all.

The processes that share a cache compete for a lease in it. Its holder listens, and invalidates in
the cache, from where the others hear of it as of any invalidation.

It starts with the first lookup of a process, so no fork leaves it behind.
"""

from __future__ import annotations

import atexit
from contextlib import suppress
from random import uniform
from threading import Event
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from instance_lookup import registry
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.concurrency.first_use import first_use
from instance_lookup.concurrency.forks import Guarded
from instance_lookup.concurrency.threads import start_daemon
from instance_lookup.conf import on_change, raw_option
from instance_lookup.push.stream_connection import url_of
from instance_lookup.push.stream_lease import RENEW, Bookmark, Lease
from instance_lookup.push.stream_listener import Term
from instance_lookup.resilience.health import Health

if TYPE_CHECKING:
    from threading import Thread

    from instance_lookup.resolver import InstanceResolver

_FAREWELL = 1.0
"""Seconds for which the end of the process may wait for the lease to be given back."""


class Stream(Guarded):
    """Competes for the lease, and listens while this process has it.

    The lock protects ``_thread``: one runs, however many lookups ask for it. The term belongs to
    that thread; others look at it.
    """

    _thread: Thread | None
    _stopped: Event
    """Ends that thread."""
    _term: Term | None

    def __init__(self) -> None:
        self._health = Health("The stream of changes")
        self._says_farewell = False
        super().__init__()

    def start(self) -> None:
        """Start the thread, if there is none."""
        with self._lock:
            if self._thread is not None:
                return
            try:
                self._thread = start_daemon("instance-lookup-stream", self._run, self._stopped)
            except RuntimeError:  # no thread is left, or the process ends: the next lookup tries
                first_use.add(self.start)
                return
            if not self._says_farewell:  # once: a child inherits it
                self._says_farewell = True
                atexit.register(self._leave)

    def stop(self) -> Thread | None:
        """Have the thread end, and return it."""
        with self._lock:
            thread = self._thread
            self._stopped.set()
            self._stopped, self._thread = Event(), None
        return thread

    @property
    def state(self) -> str:
        """How it is doing, see :class:`StreamCondition` of ``operations``."""
        thread = self._thread
        if thread is None or not thread.is_alive():  # it ends where there is no stream to be had
            return "not_used"
        if (term := self._term) is None:
            return "waiting"
        if term.is_connected:
            return "connected"
        return "starting" if self.lost_since is None else "lost"

    @property
    def lost_since(self) -> float | None:
        """Unix time since when this process fails to listen; ``None``: that is not its turn."""
        return None if self._term is None else self._health.since.get("")

    def _leave(self) -> None:
        if (thread := self.stop()) is not None:
            thread.join(_FAREWELL)

    def _run(self, stopped: Event) -> None:
        try:
            with suppress(ImproperlyConfigured):  # changed since the lookup that began this
                self._compete(registry.get_resolver(), stopped)
        finally:
            connections.close_all()

    def _compete(self, resolver: InstanceResolver, stopped: Event) -> None:
        """Hold the lease whenever no other process does, and listen for as long."""
        settings = resolver.settings
        cache = key_values[settings.cache_alias]
        # Without a cache each process asks the service for each lookup, and would connect to it.
        if not isinstance(resolver.backend, HttpConfigService) or cache.keeps_nothing:
            return
        url = url_of(resolver.backend, settings)
        lease, bookmark = Lease(cache, url), Bookmark(cache, url)
        term: Term | None = None
        wait = 0.0
        try:
            while not stopped.wait(wait):
                is_held = lease.hold()
                if term is not None and (term.over.is_set() or not is_held):
                    term.end()
                    term = None
                if is_held and term is None:
                    term = self._begin(Term(resolver, lease, bookmark, self._health), lease)
                self._term = term
                connections.close_all()  # the cache may be in a database
                wait = RENEW if is_held else uniform(0.7, 1.3) * RENEW  # noqa: S311  # no secret
        finally:
            self._term = None
            if term is not None:
                term.end()
            lease.release()

    def _begin(self, term: Term, lease: Lease) -> Term | None:
        """Run the term in a thread of its own: a renewal waits for neither service nor cache."""
        try:
            start_daemon("instance-lookup-stream-events", term.run)
        except RuntimeError:  # no thread is left here: another process may have one
            lease.release()
            return None
        return term

    def _start_over(self) -> None:
        super()._start_over()
        self._thread = None
        self._stopped = Event()
        self._term = None


stream = Stream()


def follow_settings() -> None:
    """Listen from the next lookup on if ``CONFIG_SERVICE_STREAM`` is set, and stop if it is not."""
    stream.stop()
    if raw_option("config_service_stream") is None:
        first_use.remove(stream.start)
    else:
        first_use.add(stream.start)


on_change(follow_settings)
