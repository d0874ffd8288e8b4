"""Counts calls on caches that can do no more than add one to a number: memcached, locmem.

A window is as long as it takes for a bucket to fill: on the long run as many calls are let through
as on Redis, and as many at once. At the edge of two windows it may be twice as many.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from instance_lookup.throttling.limits import DAY, Standing, most_at_once, seconds_to_fill

if TYPE_CHECKING:
    from instance_lookup.cache.keyvalue import KeyValue
    from instance_lookup.types import RateLimit

_LONGEST = 30 * DAY
"""Seconds for which a count is kept: more is another notation for memcached."""


def count(cache: KeyValue, key: str, limit: RateLimit, now: float) -> Standing:
    """Count a call in the windows of ``now`` (Unix time), of ``key`` with a number after it.

    As exact as the cache counts. A call that the window refuses does not count for the day, nor one
    that the day refuses for the window. Raises what the backend raises.
    """
    window, most = seconds_to_fill(limit), most_at_once(limit)
    number, into = divmod(now, window)
    in_window, ends_in = f"{key}:{number:.0f}", window - into
    if limit.daily is None:
        calls = cache.count(in_window, _life(window))
        return Standing(ends_in if calls > most else 0.0, max(0, most - calls), ends_in)
    day, past = divmod(now, DAY)
    of_day, day_left = f"{key}:d{day:.0f}", DAY - past
    today = int(cache.get(of_day) or 0)
    if today >= limit.daily:
        left = max(0, most - int(cache.get(in_window) or 0))
        return Standing(day_left, left, ends_in, 0, day_left)
    calls = cache.count(in_window, _life(window))
    left = max(0, most - calls)
    if calls > most:
        return Standing(ends_in, left, ends_in, limit.daily - today, day_left)
    today = cache.count(of_day, _life(DAY))
    wait = day_left if today > limit.daily else 0.0  # others came since it was read
    return Standing(wait, left, ends_in, max(0, limit.daily - today), day_left)


def _life(window: float) -> int:
    """Return how long a count is kept: a process whose clock is behind may still add to it."""
    return math.ceil(min(2 * window, _LONGEST))
