"""What begins with the first lookup that a process makes, and again in each child of it.

Not at import, nor in ``AppConfig.ready``: a server may fork after either, which leaves threads
behind, and not every process that loads the site serves it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance_lookup.concurrency.forks import PerProcess

if TYPE_CHECKING:
    from collections.abc import Callable


class FirstUse(PerProcess):
    """Calls what waits for the first lookup. A lookup looks at ``is_due``, and does no more.

    Threads that come together may each call: what is called has to bear that.
    """

    is_due: bool

    def __init__(self) -> None:
        self._waiting: tuple[Callable[[], object], ...] = ()
        super().__init__()

    def add(self, begin: Callable[[], object]) -> None:
        """Have ``begin`` called by the next lookup, in this process and in each child of it."""
        self._waiting = (*self._without(begin), begin)
        self.is_due = True

    def remove(self, begin: Callable[[], object]) -> None:
        """Have ``begin`` no longer called."""
        self._waiting = self._without(begin)

    def happens(self) -> None:
        """Call what waits. Raises nothing of its own: what cannot begin says so by itself."""
        self.is_due = False
        for begin in self._waiting:
            begin()

    def _without(self, begin: Callable[[], object]) -> tuple[Callable[[], object], ...]:
        return tuple(each for each in self._waiting if each != begin)

    def _start_over(self) -> None:
        self.is_due = bool(self._waiting)


first_use = FirstUse()
