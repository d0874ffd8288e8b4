"""Log lines on a change of state, not on every request of an outage."""

from __future__ import annotations

import logging
from collections import OrderedDict
from time import time
from typing import TYPE_CHECKING

from instance_lookup.concurrency.forks import Guarded

if TYPE_CHECKING:
    from collections.abc import Hashable

logger = logging.getLogger("instance_lookup")

_LIMIT = 10_000
"""Parts that are remembered as failing. A forgotten one is logged once more."""


class Health(Guarded):
    """The last known state of something we depend on, as a whole (``""``) and of parts of it.

    Parts fail each for itself: what works in one does not make another work again.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.failing: OrderedDict[str, Hashable] = OrderedDict()
        self.since: dict[str, float] = {}
        """Unix time since when each of ``failing`` fails, for whatever reasons."""
        self.worked_at = 0.0
        """Unix time at which the whole worked last."""
        self.failed_at = 0.0
        """Unix time of the last failure of anything."""
        self.last_line = ""
        """What the log would say of the last failure of the whole; of a bug only that it is one,
        since its message may hold anything."""

    def ok(self, part: str = "", line: str | None = None) -> None:
        """Note that it works; ``line`` is for the log, instead of "… works again"."""
        if not part:
            self.worked_at = time()
        if part in self.failing and self.changes(part, None):
            logger.warning(line or f"{self._name}{part and f', {part},'} works again.")

    def failed(
        self,
        reason: str,
        line: str,
        level: int = logging.WARNING,
        *,
        part: str = "",
        bug: BaseException | None = None,
    ) -> None:
        """Note that it does not work. Logs ``line`` at ``level`` if ``reason`` is news.

        ``reason`` is the state, ``part`` what fails (``""``: the whole). The log shows the
        traceback of ``bug``.
        """
        self.failed_at = time()
        if not part:
            self.last_line = line if bug is None else f"{self._name}: a bug, see the log."
        if self.failing.get(part) != reason and self.changes(part, reason):
            logger.log(level, line, exc_info=bug)

    def changes(self, part: str, reason: Hashable) -> bool:
        """Note the state of a ``part``, and tell if it is news; ``None``: nothing is wrong."""
        # One step: of threads that see the change together, one logs it.
        with self._lock:
            before = self.failing.pop(part, None)
            if reason is None:
                self.since.pop(part, None)
            else:
                self.failing[part] = reason
                self.since.setdefault(part, time())
            if len(self.failing) > _LIMIT:
                forgotten, _ = self.failing.popitem(last=False)
                del self.since[forgotten]
        return before != reason
