"""Which of two things that happen in this process came first: a read, or a change.

Each change that the process knows of has a number: an invalidation of its own or one that it heard,
a 404, the end of an outage. A read notes the number of the last change that concerns its id before
it begins. What it finds is kept in the process only if that is still the last one.

The lock makes "compare and keep" one step, and "count and drop" another. So a change comes either
before the comparison, which then fails, or after what was kept, which it drops: nothing from before
a change is kept after it. Between processes generations do that, without a lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from instance_lookup.concurrency.forks import Guarded
from instance_lookup.resilience.expiring import Expiring

if TYPE_CHECKING:
    from collections.abc import Callable

N = TypeVar("N", int, float)

_LIMIT = 10_000
"""Ids that are told apart."""


class Marks(Expiring[N]):
    """A number for an id, or for all ids (``None``). The larger of the two counts.

    No mark is lost for want of room: when there are too many ids to tell apart, the next mark is
    for all of them.
    """

    def __init__(self, ttl: float) -> None:
        super().__init__(ttl, limit=_LIMIT + 1)

    def mark(self, asked: str | None, number: N) -> None:
        """Mark an id, or all."""
        before = self.get(asked)
        if len(self.items) >= _LIMIT:
            before = max(each for _, each in self.items.values())
            self.clear()
            asked = None
        # What is late, such as the answer to a question from before the last one, lowers no mark.
        self.put(asked, number if before is None else max(number, before))

    def of(self, asked: str) -> N | int:
        """Return the mark of an id; 0: it has none."""
        if not self.items:
            return 0
        return max(self.get(asked) or 0, self.get(None) or 0)


class Keeper(Protocol):
    """What keeps something about ids in this process."""

    def drop(self, asked: str | None) -> object:
        """Forget what is kept about an id (``None``: about any)."""


class Epochs(Guarded):
    """The changes that this process knows of, and what has to drop what is from before them."""

    def __init__(self, ttl: float, *keepers: Keeper) -> None:
        """Remember changes for ``ttl`` seconds, for longer than anything from before them lives."""
        super().__init__()
        self.keepers = list(keepers)
        self._changes: Marks[int] = Marks(ttl)
        # Numbers, not moments, which a clock that is put back would have come again.
        self._last = 0

    def of(self, asked: str) -> int:
        """Return the number of the last change that concerns an id; 0: none.

        Reads call it without the lock, before they begin; a change after that makes ``keep`` fail.
        """
        return self._changes.of(asked) if self._changes.items else 0

    def change(self, asked: str | None, mark: Callable[[], object] | None = None) -> int:
        """Drop what is kept about an id (``None``: any id); return the number of this change.

        Reads that are under way will not be kept. ``mark`` is called in the same step.
        """
        with self._lock:
            self._last += 1
            self._changes.mark(asked, self._last)
            for keeper in self.keepers:
                keeper.drop(asked)
            if mark is not None:
                mark()
            return self._last

    def keep(self, asked: str, since: int, put: Callable[[], object]) -> None:
        """Call ``put``, which keeps something about ``asked``, if ``since`` is its last change.

        ``put`` runs under the lock: it must be short, and not call back.
        """
        with self._lock:
            if since == self.of(asked):
                put()

    def apart(self, work: Callable[[], object]) -> None:
        """Call ``work`` under the lock: no keep and no change runs at the same time."""
        with self._lock:
            work()
