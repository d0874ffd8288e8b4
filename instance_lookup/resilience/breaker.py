"""Stop asking a service that does not answer, and find out when it does again.

Not from PyPI: ``pybreaker`` holds a lock for as long as a call takes, so that calls run one after
the other; ``circuitbreaker`` lets any number of probes through when half open.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from instance_lookup.concurrency.forks import Guarded

if TYPE_CHECKING:
    from collections.abc import Callable


class Breaker(Guarded):
    """A circuit breaker: closed, open for a while, then half open for exactly one probe."""

    def __init__(
        self,
        *,
        failures: int,
        reset: float,
        probe: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Open for ``reset`` seconds after so many ``failures`` in a row.

        After ``probe`` seconds without a report from the probe the next call is one. ``clock``
        returns seconds, and is for tests.
        """
        super().__init__()
        self._failures = failures
        self._reset = reset
        self._probe = probe
        self._clock = clock
        self._in_a_row = 0
        self._open_until = 0.0
        self._probing = False
        self.closings = 0
        """How often it was open and has closed."""
        self._told_until = 0.0  # by the service itself: an answer that comes late does not lift it

    @property
    def is_closed(self) -> bool:
        """Tell whether there is no trouble at all."""
        return not self._in_a_row and not self._told_until

    def enter(self) -> bool:
        """Tell whether to call. Then report with :meth:`succeeded` or :meth:`failed`.

        The lock makes "half open" and "take the probe" one step: of callers that come together
        one gets the probe.
        """
        if self.is_closed:
            return True
        now = self._clock()
        with self._lock:
            if now < max(self._open_until, self._told_until):
                return False
            self._told_until = 0.0
            if self._in_a_row >= self._failures:  # half open: the next one has to wait for this
                self._open_until = now + self._probe
                self._probing = True
            return True

    def succeeded(self) -> None:
        """Note an answer, of whatever kind: the service is there.

        An answer to a call from before it opened does not close it: the probe has to find out.
        """
        if self._in_a_row:
            with self._lock:
                if self._in_a_row < self._failures or self._probing:
                    self.closings += self._probing
                    self._in_a_row, self._open_until, self._probing = 0, 0.0, False

    def failed(self, retry_after: float | None = None) -> None:
        """Note a failure. ``retry_after``: seconds that the service itself asked to wait."""
        with self._lock:
            now = self._clock()
            self._in_a_row += 1
            self._probing = False
            if self._in_a_row >= self._failures:
                self._open_until = now + self._reset
            if retry_after is not None:
                self._told_until = max(self._told_until, now + retry_after)

    def wait(self) -> float:
        """Return the seconds for which no call is let through; 0.0: none."""
        return max(0.0, max(self._open_until, self._told_until) - self._clock())
