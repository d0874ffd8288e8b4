"""What this process knows better than the shared cache, while that is down and just after."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from instance_lookup.expiring import Expiring
from instance_lookup.locks import Guarded

if TYPE_CHECKING:
    from instance_lookup.entry import Entry, Generation

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
        if self._answers:
            self._answers.drop(asked)

    def keep(self, asked: str, entry: Entry[D], *, since: int) -> None:
        """Keep an answer, unless something changed ``since``: it may be older than that."""
        with self._lock:
            if since == self.since(asked):
                self._answers.put(asked, entry)

    def since(self, asked: str) -> int:
        """Return the number of the last change known here that concerns an id; 0: none."""
        if not self._changes:
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
            if (self._owed.get(asked) or 0) <= mark:  # else there was another since
                self._owed.drop(asked)

    def owed(self, asked: str | None) -> int:
        """Return the mark of an invalidation that the shared cache did not take; 0: none."""
        return self._owed.get(asked) or 0

    def owes(self, asked: str) -> bool:
        """Tell whether there is one that concerns an id."""
        return bool(self._owed) and bool(self.owed(asked) or self.owed(None))

    def _forget(self, asked: str | None) -> int:
        self._last += 1
        self._note(self._changes, asked)
        if asked is None:
            self._answers.clear()
        else:
            self._answers.drop(asked)
        return self._last

    def _note(self, marks: Expiring[int], asked: str | None) -> None:
        if len(marks) >= _LIMIT:  # too many to tell apart: all ids, rather than forget one
            marks.clear()
            asked = None
        marks.put(asked, self._last)
