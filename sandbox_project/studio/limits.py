"""Rate limits of an instance, counted in the cache: simple windows of a minute and a day."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Final

from django.core.cache import cache

if TYPE_CHECKING:
    from instance_lookup import InstanceConfig, RateLimit

MINUTE: Final = 60
DAY: Final = 86_400


def take(config: InstanceConfig, worker: str, now: float | None = None) -> float | None:
    """Count one call to a worker; return how many seconds to wait if it was one too many."""
    limit = config.rate_limits.get(worker)
    if limit is None:
        return None
    name = f"calls:{config.instance_id}:{worker}"
    moment = time() if now is None else now
    # The minute first: what it refuses should not use up the day.
    if count(name, MINUTE, moment) > minute_allowance(limit, previous(name, MINUTE, moment)):
        return MINUTE - moment % MINUTE
    if limit.daily is not None and count(name, DAY, moment) > limit.daily:
        return DAY - moment % DAY
    return None


def minute_allowance(limit: RateLimit, minute_before: int) -> int:
    """Return how many calls a minute may have: the burst only after a minute without one."""
    if limit.rpm_burst is not None and minute_before <= limit.rpm:
        return max(limit.rpm, limit.rpm_burst)
    return limit.rpm


def count(name: str, window: int, now: float) -> int:
    """Count one more call, and return how many there were in this window."""
    key = f"{name}:{window}:{int(now // window)}"
    cache.add(key, 0, 2 * window)
    return int(cache.incr(key))


def previous(name: str, window: int, now: float) -> int:
    """Return how many calls there were in the window before."""
    return int(cache.get(f"{name}:{window}:{int(now // window) - 1}", 0))
