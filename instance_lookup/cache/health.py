"""Whether the shared cache answers, as far as this process knows."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from instance_lookup import events
from instance_lookup.exceptions import CacheError
from instance_lookup.resilience.breaker import Breaker
from instance_lookup.resilience.health import Health

if TYPE_CHECKING:
    from collections.abc import Callable

CACHE_SKIPPED = 5.0
"""Seconds for which a cache that failed is not asked: it would cost every request its timeout."""
_WRITING = "writing"
"""The part of its health that a full or read-only server loses alone."""
_WRITING_LARGE = "writing large values"
"""The part that a server loses for one large configuration, while it takes all others."""
_LARGE = 262_144
"""Bytes."""
_SLOW = 0.1
"""Seconds."""


class CacheHealth:
    """When to ask the cache of one resolver, and what the log says of it.

    Configurations, projects and leases share it: they are in one cache.
    """

    def __init__(self, alias: str) -> None:
        self.breaker = Breaker(failures=1, reset=CACHE_SKIPPED, probe=CACHE_SKIPPED)
        self.log = Health(f"The cache {alias!r}")
        self._alias = alias
        self._refused = 0
        """Bytes of the smallest large value that was refused since the log said so."""

    def may_read(self) -> bool:
        """Tell whether to read the cache now, or to leave it alone."""
        is_open = self.breaker.enter()
        if not is_open and events.watchers:
            events.tell(events.CacheOperation("read", "skipped", 0.0))
        return is_open

    @property
    def is_writable(self) -> bool:
        """Whether it took the last values of any size, as far as is known."""
        return not self.log.failing.keys() & {_WRITING, _WRITING_LARGE}

    @property
    def failing_since(self) -> float | None:
        """Unix time since when it fails, in whole or in part; ``None``: it does not."""
        return min([*self.log.since.values()], default=None)

    def answered(self) -> None:
        """Note that the cache was read."""
        self.breaker.succeeded()
        self.log.ok()

    def takes(self, write: Callable[[], object], size: int) -> bool:
        """Write about ``size`` bytes, and tell whether the cache took them.

        It is not tried while the cache is down.
        """
        if self.breaker.wait():  # it failed since it was read
            if events.watchers:
                events.tell(events.CacheOperation("write", "skipped", 0.0))
            return False
        began = monotonic()
        try:
            write()
        except CacheError as exc:
            self.unwritable(exc, began, size)
            return False
        self.log.ok(_WRITING)
        if size >= self._refused:  # smaller ones do not tell whether that one would be taken
            self.log.ok(_WRITING_LARGE)
        return True

    def failed(self, exc: Exception) -> None:
        """Note that the cache did not answer: it is left alone for a while."""
        self.breaker.failed()
        self.log.failed(
            "down",
            f"{self._said(exc)} It is not asked for {CACHE_SKIPPED:g} s at a time; the"
            f" Config Service is asked instead. Check the server of {self._setting}.",
        )

    def unwritable(self, exc: Exception, began: float, size: int = 0) -> None:
        """Note that a write of about ``size`` bytes failed.

        It ``began`` at that time of the monotonic clock. A cache that fails at once can still be
        read. A slow one is left alone, so that other lookups do not wait for it.
        """
        if monotonic() - began >= _SLOW:
            self.failed(exc)
            return
        part = _WRITING if size < _LARGE else _WRITING_LARGE
        if part == _WRITING_LARGE:
            self._refused = min(size, self._refused) if part in self.log.failing else size
        self.log.failed(
            "down",
            f"{self._said(exc)} What it holds is still served; for the rest the Config"
            f" Service is asked. Check that the server of {self._setting} has room, takes"
            " values of this size, and is no replica.",
            part=part,
        )

    @property
    def _setting(self) -> str:
        return f"CACHES[{self._alias!r}]"

    def _said(self, exc: Exception) -> str:
        if isinstance(exc, CacheError):
            return str(exc)
        return f"The cache {self._alias!r} failed: {type(exc).__name__}."
