"""How the Config Service and the cache are doing, as far as this process knows."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from instance_lookup.breaker import Breaker
from instance_lookup.health import Health
from instance_lookup.omissions import Omissions

if TYPE_CHECKING:
    from instance_lookup.conf import Settings
    from instance_lookup.counters import Counters

CACHE_SKIPPED = 5.0
"""Seconds for which a cache that failed is not asked: it would cost every request its timeout."""


WRITING = "writing"
"""The part of a cache's health that a full or read-only server loses alone."""
_SLOW = 0.1


class Vitals:
    """What the loaders of one resolver share."""

    def __init__(self, settings: Settings, counters: Counters) -> None:
        self.count = counters.add
        self.service = Health("Config Service")
        self.omissions = Omissions(counters.add)
        self.cache = Health("Instance cache")
        self.breaker = Breaker(
            failures=settings.breaker_failures,
            reset=settings.breaker_reset,
            # A moment more than a call may take: there is never a second probe beside the first.
            probe=settings.config_service_timeout + 1.0,
        )
        self.cache_breaker = Breaker(failures=1, reset=CACHE_SKIPPED, probe=CACHE_SKIPPED)

    def cache_unwritable(self, exc: Exception, began: float) -> None:
        """Note that the cache failed to write, in an operation that ``began`` then.

        One that says no at once can still be read. One that took its time costs nobody else that.
        """
        if monotonic() - began < _SLOW:
            self.cache.failed("down", exc, part=WRITING)
        else:
            self.cache_breaker.failed()
            self.cache.failed("down", exc)
