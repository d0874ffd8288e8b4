"""What this process knows better than the shared cache, while that is down and just after."""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from instance_lookup.expiring import Expiring
from instance_lookup.forks import Guarded

if TYPE_CHECKING:
    from instance_lookup.entry import Entry, Generation
    from instance_lookup.near import NearCache

D = TypeVar("D", bound=Struct)
N = TypeVar("N", int, float)

_LIMIT = 10_000
"""Ids that are told apart."""


class LocalKnowledge(Guarded, Generic[D]):
    """Answers of the Config Service to bridge a cache outage, and what it said is gone.

    Without the answers an outage of the cache would become a stampede on the service. Without the
    second, a 404 that the cache did not take would be forgotten once it is back with the copy.
    """

    def __init__(self, *, answers_live: float, changes_live: float, stale_max_age: float) -> None:
        super().__init__()
        self._stale_max_age = stale_max_age
        self._answers: Expiring[Entry[D]] = Expiring(answers_live, limit=1024)
        self._changes: Expiring[int] = Expiring(changes_live, limit=_LIMIT + 1)
        self._gone: Expiring[float] = Expiring(changes_live, limit=_LIMIT + 1)
        # Numbers, not moments, which a clock that is put back would have come again.
        self._last = 0
        self.near: NearCache[D] | None = None
        """Entries at hand, where that is wanted."""
        self._doubted_at = 0.0

    def answer(self, asked: str) -> Entry[D] | None:
        """Return what the Config Service answered a moment ago, the cache being down."""
        entry = self._answers.get(asked)
        return entry and entry.aged(self._stale_max_age, time())

    def unwritten(self, asked: str, under: Generation | None) -> Entry[D] | None:
        """Return what was answered a moment ago, and the cache, read-only or full, did not take.

        Only what was asked for under the generation that it tells: it hears invalidations.
        """
        if (entry := self.answer(asked)) and entry.generation == str(under or ""):
            return entry
        self.drop(asked)
        return None

    def drop(self, asked: str) -> None:
        """Forget an answer: the cache holds something newer."""
        if self._answers.items:
            self._answers.drop(asked)

    def keep(self, asked: str, entry: Entry[D], *, since: int) -> None:
        """Keep an answer, unless something changed ``since``: it may be older than that."""
        with self._lock:
            if since == self.since(asked):
                self._answers.put(asked, entry)

    def fill(self, asked: str, entry: Entry[D], *, since: int, read_at: float) -> None:
        """Have an entry at hand that the cache held, unless something changed ``since``."""
        with self._lock:
            if self.near is None or read_at <= self._doubted_at:
                return
            if since == self.since(asked):
                self.near.put(asked, entry, read_at)

    def doubt(self) -> None:
        """Have nothing at hand of what was read so far.

        No change: answers under way are as good, and those who wait for the same one still do.
        """
        with self._lock:
            self._doubted_at = monotonic()
            if self.near is not None:
                self.near.drop(None)

    def outdated(self, asked: str) -> None:
        """Have an entry not at hand: the cache took a newer one."""
        with self._lock:
            if self.near is not None:
                self.near.drop(asked)

    def since(self, asked: str) -> int:
        """Return the number of the last change known here that concerns an id; 0: none."""
        if not self._changes.items:
            return 0
        return max(self._changes.get(asked) or 0, self._changes.get(None) or 0)

    def forget(self, asked: str | None) -> int:
        """Keep no answer about an id (``None``: any id), nor one that is under way.

        Returns the number of this change.
        """
        with self._lock:
            return self._forget(asked)

    def gone(self, asked: str, asked_at: float) -> int:
        """Forget an id, and believe no copy from before ``asked_at``: the service had none then.

        That is for a 404 which the shared cache did not take. Returns the number of this change.
        """
        with self._lock:
            since = self._forget(asked)
            self._note(self._gone, asked, asked_at)
            return since

    def is_gone(self, asked: str, entry: Entry[D]) -> bool:
        """Tell whether the service has said since that what the shared cache holds is gone."""
        if not self._gone.items or entry.document is None:
            return False
        return entry.cached_at <= max(self._gone.get(asked) or 0, self._gone.get(None) or 0)

    def taken(self, asked: str) -> None:
        """Note that the shared cache took a newer answer about an id, or its invalidation."""
        if self._gone.items:
            self._gone.drop(asked)

    def _forget(self, asked: str | None) -> int:
        self._last += 1
        if self.near is not None:
            self.near.drop(asked)
        self._note(self._changes, asked, self._last)
        if asked is None:
            self._answers.clear()
        else:
            self._answers.drop(asked)
        return self._last

    def _note(self, marks: Expiring[N], asked: str | None, mark: N) -> None:
        if len(marks.items) >= _LIMIT:  # too many to tell apart: all ids, rather than forget one
            marks.clear()
            asked = None
        marks.put(asked, mark)
