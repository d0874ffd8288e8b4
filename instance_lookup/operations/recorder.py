"""What this process remembers between two reports: bounded, and counted in microseconds."""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice
from time import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from instance_lookup.concurrency.forks import Guarded
from instance_lookup.events import Lookup, ServiceCall
from instance_lookup.operations.stored import ANSWERS, MINUTES, Answer, Minute, News
from instance_lookup.types import Source

if TYPE_CHECKING:
    from instance_lookup.events import Event
    from instance_lookup.types import CacheStats

_LIMIT = 10_000
"""Instances of which something is kept; those looked up least recently make room."""
_STALE = Source.STALE_CACHE.value


class Recorder(Guarded):
    """Counts calls of the Config Service by minute, and keeps what is new of each instance.

    Threads of lookups record, the thread of the reports takes. The lock keeps a minute whole.
    """

    _minutes: deque[Minute]
    _news: OrderedDict[str, News]
    _sources: OrderedDict[str, str]
    """Of the last lookup of each instance."""
    _stats: CacheStats | None
    """The numbers when they were last counted."""

    def record(self, event: Event) -> None:
        """Note a call of the Config Service or a lookup, in the thread in which it ended."""
        if isinstance(event, ServiceCall):
            self._called(event)
        elif isinstance(event, Lookup) and event.source and event.instance_id:
            self._served(event.instance_id, event.source)

    def _called(self, event: ServiceCall) -> None:
        answer = Answer(
            at=event.began,
            status=event.status,
            outcome=event.outcome,
            seconds=event.seconds,
            request_id=event.request_id[:64],
        )
        with self._lock:
            self._minute(time()).count_call(event.seconds, failed=answer.failed)
            # What JSON cannot hold is no id that the service knows.
            if event.kind == "instance" and event.asked.isprintable():
                self._keep(event.asked, News(event.began + event.seconds, [answer]))

    def _served(self, instance_id: str, source: str) -> None:
        with self._lock:
            before = self._sources.pop(instance_id, None)
            self._sources[instance_id] = source
            if len(self._sources) > _LIMIT:
                self._sources.popitem(last=False)
            # Not each lookup, or each process would write about each instance all the time.
            if before is None or (before == _STALE) is not (source == _STALE):
                self._keep(instance_id, News(time(), source=source))

    def count(self, stats: CacheStats) -> None:
        """Add what the lookups did since the last time, of their numbers as of now."""
        with self._lock:
            before, self._stats = self._stats, stats
            if before is None:  # the first time: a child has what its parent counted
                return
            if any(getattr(stats, name) < getattr(before, name) for name in _LOOKUPS):
                return  # reset, or the numbers of another resolver
            fresh, near, negative, stale, missed = (
                getattr(stats, name) - getattr(before, name) for name in _LOOKUPS
            )
            minute = self._minute(time())
            minute.fresh += fresh
            minute.near += near
            minute.negative += negative
            minute.stale += stale
            minute.missed += max(0, missed - stale)

    def minutes(self) -> list[Minute]:
        """Return the minutes of the last hour in which there was something, the oldest first."""
        with self._lock:
            now = self._minute(time()).minute
            return [
                replace(each, latency=[*each.latency])
                for each in self._minutes
                if each.minute > now - MINUTES
            ]

    def adopt(self, minutes: list[Minute]) -> None:
        """Continue the last hour of the process that had this slot before."""
        with self._lock:
            ours = {each.minute: each for each in self._minutes}
            for each in minutes[-MINUTES:]:
                if (own := ours.get(each.minute)) is not None:
                    own.add(each)
                else:
                    ours[each.minute] = each
            ordered = sorted(ours.values(), key=lambda each: each.minute)
            self._minutes = deque(ordered, MINUTES)

    def calls_a_minute(self) -> float:
        """Return how many calls there were in the last whole minute, or in this one if more."""
        with self._lock:
            now = self._minute(time()).minute
            return max(each.calls for each in self._minutes if each.minute >= now - 1)

    def take(self, most: int, *, ended_by: float) -> dict[str, News]:
        """Return what is new of at most so many instances, and forget it.

        Those that were looked up least recently come first. Those that were called for after
        ``ended_by`` (Unix time) have to wait.
        """
        with self._lock:
            first = [*islice(self._news.items(), most)]
            settled = [asked for asked, news in first if news.at <= ended_by]
            return {asked: self._news.pop(asked) for asked in settled}

    def give_back(self, taken: dict[str, News]) -> None:
        """Keep what could not be reported for the next time."""
        with self._lock:
            for asked, news in taken.items():
                self._keep(asked, news, last=False)

    def _keep(self, asked: str, news: News, *, last: bool = True) -> None:
        kept = self._news.setdefault(asked, News())
        if news.at >= kept.at:
            kept.at, kept.source = news.at, news.source or kept.source
        merged = sorted([*kept.answers, *news.answers], key=lambda each: each.at)
        kept.answers = merged[-ANSWERS:]
        self._news.move_to_end(asked, last=last)
        if len(self._news) > _LIMIT:
            self._news.popitem(last=False)

    def _minute(self, now: float) -> Minute:
        minute = int(now // 60)
        if not self._minutes or self._minutes[-1].minute < minute:
            self._minutes.append(Minute(minute=minute))
        return self._minutes[-1]

    def _start_over(self) -> None:
        super()._start_over()
        self._minutes = deque(maxlen=MINUTES)
        self._news = OrderedDict()
        self._sources = OrderedDict()
        self._stats = None


_LOOKUPS = ("hits", "near_hits", "negative_hits", "stale_hits", "misses")
