"""When a 404 of the Config Service is not believed: after too many in a row.

After a wrong base path or a rollback a service answers 404 for everything. If each one dropped a
copy, the site would lose every copy that it has.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from instance_lookup.concurrency.forks import Guarded

if TYPE_CHECKING:
    from collections.abc import Hashable

BELIEVED = 3
"""Ids whose copies may be dropped in a row, with no document answered in between."""


class Fate(Enum):
    """What becomes of a copy when the service says that there is no such thing."""

    DROP = "drop"
    DROP_AGAIN = "drop again"
    """It is counted already: two calls for it were under way at the same time."""
    KEEP = "keep"


class Deletions(Guarded):
    """The copies that 404s have dropped since the Config Service last answered with a document.

    Each resolver counts in each process. Instances and projects count together, since one service
    answers for both. The lock makes "may one more be dropped" and "count it" one step: of many 404s
    that arrive at one time no more than ``BELIEVED`` drop a copy.
    """

    def __init__(self) -> None:
        super().__init__()
        self._dropped: dict[Hashable, float] = {}
        self.drops = 0
        """How many there were ever: read it before a call, and hand it to :meth:`note_document`."""
        self.documents = 0
        """Documents that have reset the count. What waits for the next one remembers this."""

    def decide(self, name: Hashable, cached_at: float) -> Fate:
        """Decide what becomes of the copy from ``cached_at``, and count it if it is dropped."""
        with self._lock:
            if name not in self._dropped and len(self._dropped) >= BELIEVED:
                return Fate.KEEP
            if self._dropped.get(name) == cached_at:
                return Fate.DROP_AGAIN
            self._dropped[name] = cached_at
            self.drops += 1
            return Fate.DROP

    @property
    def is_in_doubt(self) -> bool:
        """Whether so many copies were dropped that no other one is, until a document comes."""
        return len(self._dropped) >= BELIEVED

    def note_document(self, drops: int) -> bool:
        """Note a document, asked for when there were so many ``drops``; tell if it was counted.

        Then it ends the row of drops. One that was asked for before the last drop is not counted:
        the service may have been well then.
        """
        with self._lock:
            if drops != self.drops:
                return False
            self._dropped.clear()
            self.documents += 1
            return True
