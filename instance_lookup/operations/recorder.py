"""What this process remembers between two reports: bounded, and counted in microseconds."""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice
from time import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from instance_lookup.concurrency.forks import Guarded
from instance_lookup.events import ServiceCall
from instance_lookup.operations.stored import ANSWERS, MINUTES, Answer, Minute

if TYPE_CHECKING:
    from instance_lookup.events import Event
    from instance_lookup.types import CacheStats

_LIMIT = 10_000
"""Instances that wait to be reported; the ones that were called for least recently make room."""


class Recorder(Guarded):
    """Counts calls of the Config Service by minute, and keeps the last answers of each instance.

    Threads of lookups record, the thread of the reports takes. The lock keeps a minute whole.
    """

    _minutes: deque[Minute]
    _answers: OrderedDict[str, list[Answer]]
    _stats: CacheStats | None
    """The numbers when they were last counted."""

    def record(self, event: Event) -> None:
        """Note a call of the Config Service, in the thread in which it ended."""
        if not isinstance(event, ServiceCall):
            return
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
                self._keep(event.asked, answer)

    def count(self, stats: CacheStats) -> None:
        """Add what the lookups did since the last time, of their numbers as of now."""
        with self._lock:
            before, self._stats = self._stats, stats
            if before is None:  # the first time: a child has what its parent counted
                return
            if any(getattr(stats, name) < getattr(before, name) for name in _LOOKUPS):
                return  # reset, or the numbers of another resolver
            fresh, negative, stale, missed = (
                getattr(stats, name) - getattr(before, name) for name in _LOOKUPS
            )
            minute = self._minute(time())
            minute.fresh += fresh
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

    def take(self, most: int, *, ended_by: float) -> dict[str, list[Answer]]:
        """Return the new answers of at most so many instances, and forget them.

        Those that were called for least recently come first. Calls for an instance that ended
        after ``ended_by`` (Unix time) have it wait.
        """
        with self._lock:
            settled = [
                asked
                for asked, answers in islice(self._answers.items(), most)
                if answers[-1].at + answers[-1].seconds <= ended_by
            ]
            return {asked: self._answers.pop(asked) for asked in settled}

    def give_back(self, taken: dict[str, list[Answer]]) -> None:
        """Keep what could not be reported for the next time."""
        with self._lock:
            for asked, answers in taken.items():
                for answer in answers:
                    self._keep(asked, answer, last=False)

    def _keep(self, asked: str, answer: Answer, *, last: bool = True) -> None:
        answers = self._answers.setdefault(asked, [])
        answers.append(answer)
        answers.sort(key=lambda each: each.at)
        del answers[:-ANSWERS]
        self._answers.move_to_end(asked, last=last)
        if len(self._answers) > _LIMIT:
            self._answers.popitem(last=False)

    def _minute(self, now: float) -> Minute:
        minute = int(now // 60)
        if not self._minutes or self._minutes[-1].minute < minute:
            self._minutes.append(Minute(minute=minute))
        return self._minutes[-1]

    def _start_over(self) -> None:
        super()._start_over()
        self._minutes = deque(maxlen=MINUTES)
        self._answers = OrderedDict()
        self._stats = None


_LOOKUPS = ("hits", "negative_hits", "stale_hits", "misses")
