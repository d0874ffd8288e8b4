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

_LIMIT = 10_000
"""Ids that are told apart."""


class LocalKnowledge(Guarded, Generic[D]):
    """Answers of the Config Service to bridge a cache outage, and invalidations to honour.

    Without the answers an outage of the cache would become a stampede on the service; without the
    invalidations one that the cache did not take would be forgotten once it is back.
    """

    def __init__(
        self, *, answers_live: float, invalidations_live: float, stale_max_age: float
    ) -> None:
        super().__init__()
        self._stale_max_age = stale_max_age
        self._answers: Expiring[Entry[D]] = Expiring(answers_live, limit=1024)
        self._changes: Expiring[int] = Expiring(invalidations_live, limit=_LIMIT + 1)
        self._owed: Expiring[int] = Expiring(invalidations_live, limit=_LIMIT + 1)
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

    def invalidate(self, asked: str | None) -> int:
        """Trust nothing about an id (``None``: any id) until the shared cache took that.

        Returns what to confirm it with.
        """
        with self._lock:
            mark = self._forget(asked)
            self._note(self._owed, asked)
            return mark

    def confirmed(self, asked: str | None, mark: int) -> None:
        """Note that the shared cache took the invalidation: generations do the rest."""
        with self._lock:
            self._forget(asked)  # somebody may have read the old entry meanwhile
            if (self._owed.get(asked) or 0) <= mark:  # else there was another since
                self._owed.drop(asked)

    def owed(self, asked: str | None) -> int:
        """Return the mark of an invalidation that the shared cache did not take; 0: none."""
        return self._owed.get(asked) or 0

    def owes(self, asked: str) -> bool:
        """Tell whether there is one that concerns an id."""
        return bool(self._owed.items) and bool(self.owed(asked) or self.owed(None))

    def _forget(self, asked: str | None) -> int:
        self._last += 1
        if self.near is not None:
            self.near.drop(asked)
        self._note(self._changes, asked)
        if asked is None:
            self._answers.clear()
        else:
            self._answers.drop(asked)
        return self._last

    def _note(self, marks: Expiring[int], asked: str | None) -> None:
        if len(marks.items) >= _LIMIT:  # too many to tell apart: all ids, rather than forget one
            marks.clear()
            asked = None
        marks.put(asked, self._last)
