"""Log lines on a change of state, not on every request of an outage."""

from __future__ import annotations

import logging
from threading import Lock

logger = logging.getLogger("instance_lookup")

OK = "ok"


class Health:
    """The last known state of something we depend on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = Lock()
        self._state = OK

    def ok(self) -> None:
        """Note that it works."""
        if self._state != OK and self._changes_to(OK):
            logger.warning("%s works again.", self._name)

    def failed(self, reason: str, detail: object, level: int = logging.WARNING) -> None:
        """Note that it does not: ``reason`` is the state, ``detail`` says more in the log line."""
        if self._state != reason and self._changes_to(reason):
            logger.log(level, "%s: %s", self._name, detail)

    def _changes_to(self, state: str) -> bool:
        with self._lock:
            changed = self._state != state
            self._state = state
        return changed
