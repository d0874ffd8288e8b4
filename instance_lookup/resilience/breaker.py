"""Stop asking a service that does not answer, and find out when it does again.

Not from PyPI: ``pybreaker`` holds a lock for as long as a call takes, so that calls run one after
the other; ``circuitbreaker`` lets any number of probes through when half open.
"""

from __future__ import annotations

from enum import IntEnum
from time import monotonic
from typing import TYPE_CHECKING

from instance_lookup.concurrency.forks import Guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


_ASKED = 2
"""Things for which the service has asked to be left alone, before it is: one may be special."""


class State(IntEnum):
    """What a circuit breaker does with calls."""

    CLOSED = 0
    """It lets them through."""
    HALF_OPEN = 1
    """It lets one through, the probe, which decides."""
    OPEN = 2
    """It refuses them."""


class Breaker(Guarded):
    """A circuit breaker: closed, open for a while, then half open for exactly one probe.

    It counts what fails, not how often: one thing that always fails says nothing about the rest.
    """

    def __init__(
        self,
        *,
        failures: int,
        reset: float,
        probe: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Open for ``reset`` seconds after failures of so many things, with no success between.

        ``failures`` is how many. After ``probe`` seconds without a report from the probe the next
        call is one. ``clock`` returns seconds, and is for tests.
        """
        super().__init__()
        self._failures = failures
        self._reset = reset
        self._probe = probe
        self._clock = clock
        self._failing: set[Hashable] = set()
        """What has failed since the last success; no more than decide."""
        self._asked: dict[Hashable, float] = {}
        """Until when the service asked to be left alone, for what; no more than decide."""
        self._open_until = 0.0
        self._probing = False
        self.closings = 0
        """How often it was open and has closed."""
        self._told_until = 0.0  # by the service itself: an answer that comes late does not lift it

    @property
    def is_closed(self) -> bool:
        """Tell whether there is no trouble at all."""
        return not self._failing and not self._told_until

    @property
    def state(self) -> State:
        """What it does with the next call."""
        if self.wait() and not self._probing:
            return State.OPEN
        return State.HALF_OPEN if self._has_opened else State.CLOSED

    @property
    def _has_opened(self) -> bool:
        return len(self._failing) >= self._failures

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
            if self._has_opened:  # half open: the next one has to wait for this
                self._open_until = now + self._probe
                self._probing = True
            return True

    def succeeded(self) -> None:
        """Note an answer, of whatever kind: the service is there.

        An answer to a call from before it opened does not close it: the probe has to find out.
        """
        if self._failing:
            with self._lock:
                if not self._has_opened or self._probing:
                    self.closings += self._probing
                    self._open_until, self._probing = 0.0, False
                    self._failing.clear()
                    self._asked.clear()

    def failed(self, what: Hashable = None, retry_after: float | None = None) -> None:
        """Note a failure of ``what`` was asked for; of the same thing it counts once.

        ``retry_after``: seconds that the service itself asked to wait. All do once it has come for
        two things.
        """
        with self._lock:
            now = self._clock()
            if not self._has_opened:
                self._failing.add(what)
            self._probing = False
            if self._has_opened:
                self._open_until = now + self._reset
            if retry_after is not None:
                until = now + retry_after
                if what in self._asked or len(self._asked) < _ASKED:
                    self._asked[what] = max(self._asked.get(what, 0.0), until)
                if len(self._asked) >= _ASKED:
                    self._told_until = max(self._told_until, until, *self._asked.values())

    def wait(self) -> float:
        """Return the seconds for which no call is let through; 0.0: none."""
        return max(0.0, max(self._open_until, self._told_until) - self._clock())
