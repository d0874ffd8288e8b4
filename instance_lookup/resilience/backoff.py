"""How long each thing that failed is left alone, so that it costs the others nothing."""

from __future__ import annotations

from random import uniform
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import Struct

from instance_lookup.resilience.expiring import Expiring

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class Failure(Struct, frozen=True):
    """The last failure of one thing."""

    at: float
    """On the monotonic clock."""
    until: float
    """When it may be asked again, on that clock."""
    in_a_row: int


class Backoff(Expiring[Failure]):
    """Leaves alone what failed: at once where there is a copy, else when it goes on failing.

    So it is a circuit breaker of each thing, beside the one of the service, with the same settings.
    """

    def __init__(
        self,
        *,
        rest: float,
        failures: int,
        reset: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Callers who have a copy leave it alone for ``rest`` seconds after a failure.

        Those without one ask until it has failed so many ``failures`` in a row, and then leave it
        alone for ``reset`` seconds after each. ``clock`` returns seconds, and is for tests.
        """
        # Twice as long: a failure right after the longest pause is still one in the row.
        super().__init__(2 * max(rest, reset), clock=clock)
        self._rest = rest
        self._failures = failures
        self._reset = reset

    def failed(self, key: Hashable, *, at_least: float = 0.0) -> None:
        """Note a failure of ``key``, after which it is left alone ``at_least`` so many seconds.

        There is no lock around the two steps: of threads that get here together one may not count.
        """
        now, before = self._clock(), self.get(key)
        in_a_row = before.in_a_row + 1 if before else 1
        pause = max(at_least, self._reset) if in_a_row >= self._failures else at_least
        self.put(key, Failure(now, now + pause, in_a_row))

    def pause(self, key: Hashable) -> float:
        """Return the seconds until ``key`` may be asked; 0.0: now."""
        failure = self.get(key)
        return 0.0 if failure is None else max(0.0, failure.until - self._clock())

    def rests(self, key: Hashable) -> bool:
        """Tell whether callers who have a copy leave ``key`` alone: they lose nothing by it."""
        failure = self.get(key)
        return failure is not None and self._clock() < max(failure.until, failure.at + self._rest)


class Pauses:
    """The pauses before the next try: twice as long after each failure, and none alike.

    Without the jitter all clients that lost a server at one moment would come back at one moment.
    """

    def __init__(self, first: float, longest: float) -> None:
        """Begin with about ``first`` seconds and end with about ``longest``."""
        self.first = first
        self._longest = longest
        self._failures = 0

    def next(self) -> float:
        """Return the seconds until the next try: half of what its turn has, or up to all of it."""
        pause = min(self._longest, self.first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return uniform(pause / 2, pause)  # noqa: S311  # no secret depends on it

    def start_over(self) -> None:
        """Note that a try succeeded."""
        self._failures = 0
