"""The reports of this process: one daemon thread writes them to the cache, if ``REPORT_STATUS``.

It starts with the first event in a process, so no fork leaves it behind.
Lookups do not wait for it: all they do is :meth:`Recorder.record`.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from contextlib import suppress
from hashlib import sha256
from threading import Event
from time import time
from typing import TYPE_CHECKING

from django.db import connections

from instance_lookup import events, registry
from instance_lookup.backends.headers import version
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.concurrency.forks import Guarded, check
from instance_lookup.concurrency.threads import start_daemon
from instance_lookup.conf import on_change, raw_option
from instance_lookup.operations.condition import condition_of
from instance_lookup.operations.index import write_seen
from instance_lookup.operations.recorder import Recorder
from instance_lookup.operations.reports import read_reports
from instance_lookup.operations.stored import (
    BEAT_LIFE,
    MINUTES_LIFE,
    SLOTS,
    Beat,
    Form,
    Minutes,
    beat_key,
    minutes_key,
)
from instance_lookup.resilience.health import Health

if TYPE_CHECKING:
    from threading import Thread

    from instance_lookup.cache.keyvalue import KeyValue
    from instance_lookup.conf import Settings
    from instance_lookup.operations.reports import Summary
    from instance_lookup.resolver import InstanceResolver

EVERY = 10.0
"""Seconds between two reports."""
_FIRST = 2.0
"""Seconds before the first: then it is known what came of the call that the thread began with."""
_READ_EVERY = 60.0
"""Seconds between two looks at what all processes report."""
_SETTLED = 1.0
"""Seconds after a call in which its answer is stored: then the entry is looked at."""
_MOST = 500
"""Instances that one report looks at; the others wait for the next ones."""


class Reporter(Guarded):
    """Reports this process, and what it saw, to the cache.

    The lock protects ``_thread``: one runs, however many lookups ask for it. All else belongs to
    that thread.
    """

    _thread: Thread | None
    _stopped: Event
    """Ends that thread."""
    _slot: int
    _has_adopted: bool
    """Whether it has continued the last hour of the process that had its slot."""
    _summary: Summary | None

    def __init__(self) -> None:
        self.recorder = Recorder()
        self._health = Health("Reporting the status of this process")
        super().__init__()

    def watch(self, event: events.Event) -> None:
        """Record an event, and start the thread if there is none."""
        self.recorder.record(event)
        check()
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        # A system without threads to give: the next event tries again. The lock: of lookups that
        # come together one starts the thread.
        with self._lock, suppress(RuntimeError):
            self._thread = self._thread or start_daemon(
                "instance-lookup-status", self._run, self._stopped
            )

    def stop(self) -> None:
        """Have the thread end; what it wrote expires by itself."""
        with self._lock:
            self._stopped.set()
            self._stopped, self._thread = Event(), None

    def report(self, resolver: InstanceResolver) -> None:
        """Write the report of now. What fails is logged once, and reported the next time."""
        alias = resolver.settings.cache_alias
        taken = self.recorder.take(_MOST, ended_by=time() - _SETTLED)
        try:
            self.recorder.count(resolver.get_cache_stats())
            self._beat(resolver, key_values[alias])
            write_seen(resolver, taken)
            self._read(resolver)
        except Exception as exc:  # noqa: BLE001  # whatever the backend raises
            self.recorder.give_back(taken)
            reason = type(exc).__name__
            self._health.failed(
                reason,
                f"The status of this process is not reported to the cache {alias!r} ({reason}); it"
                f" is tried again every {EVERY:g} s. Lookups are not affected.",
            )
        else:
            self._health.ok()

    @property
    def summary(self) -> Summary | None:
        """What all processes reported when this one last looked, unless that is too long ago."""
        summary = self._summary
        return summary if summary and time() - summary.reports_at < 3 * _READ_EVERY else None

    def _read(self, resolver: InstanceResolver) -> None:
        """Look at what all report: the health endpoint shows it, which does no I/O itself."""
        known = self._summary
        if known is None or time() - known.reports_at >= _READ_EVERY:
            fleet = read_reports(resolver)
            self._summary = None if fleet.failure else fleet.summary

    def _run(self, stopped: Event) -> None:
        wait = _FIRST
        while not stopped.wait(wait):
            wait = EVERY
            try:
                self.report(registry.get_resolver())
            finally:
                connections.close_all()  # those of this thread: the cache may be in a database

    def _beat(self, resolver: InstanceResolver, cache: KeyValue) -> None:
        """Tell that this process is there, in a slot of its own, and what it did in an hour."""
        form, beat = Form(resolver.settings), self._as_beat(resolver)
        # Between the look and the write another process may take the slot of one that stood
        # still for BEAT_LIFE. One of the two is not seen until its next report finds the other.
        if not (self._is_ours(cache, form) or self._claim(cache, form, beat)):
            return
        key, hour = beat_key(self._slot), minutes_key(self._slot)
        cache.set(key, form.encode(beat, key), BEAT_LIFE)
        minutes = Minutes(minutes=self.recorder.minutes())
        cache.set(hour, form.encode(minutes, hour), MINUTES_LIFE)

    def _is_ours(self, cache: KeyValue, form: Form) -> bool:
        key = beat_key(self._slot)
        held = form.decode(cache.get(key), key, Beat)
        return held is not None and held.token == self._token

    def _claim(self, cache: KeyValue, form: Form, beat: Beat) -> bool:
        """Take a free slot: the one from before, else the first. Tell whether there was one."""
        held = cache.get_many([beat_key(slot) for slot in range(SLOTS)])
        free = [slot for slot in range(SLOTS) if held[slot] is None]
        for slot in sorted(free, key=lambda each: (each != self._slot, each)):
            key, hour = beat_key(slot), minutes_key(slot)
            if cache.add(key, form.encode(beat, key), BEAT_LIFE):
                self._slot = slot
                if not self._has_adopted:
                    self._has_adopted = True
                    if left := form.decode(cache.get(hour), hour, Minutes):
                        self.recorder.adopt(left.minutes)
                return True
        return False

    def _as_beat(self, resolver: InstanceResolver) -> Beat:
        return Beat(
            token=self._token,
            host=socket.gethostname()[:64],
            pid=os.getpid(),
            started=self._started,
            version=version(),
            settings=digest(resolver.settings),
            condition=condition_of(resolver),
            calls_a_minute=self.recorder.calls_a_minute(),
        )

    def _start_over(self) -> None:
        super()._start_over()
        self._thread = None
        self._stopped = Event()
        self._token = secrets.token_hex(8)
        self._started = time()
        self._slot = 0
        self._has_adopted = False
        self._summary = None


def digest(settings: Settings) -> str:
    """Return what tells settings apart, without the secrets among them."""
    plain = re.sub(r" at 0x[0-9a-f]+", "", repr(settings))
    return sha256(plain.encode()).hexdigest()[:12]


reporter = Reporter()


def follow_settings() -> None:
    """Report from now on if ``REPORT_STATUS`` is on, and stop if it is not."""
    reporter.stop()
    if raw_option("report_status") is True:
        events.watch(reporter.watch)
    else:
        events.unwatch(reporter.watch)


on_change(follow_settings)
