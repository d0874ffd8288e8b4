"""Counts calls on Redis and Valkey: a token bucket and the calls of the day, in one script.

Not by the package ``limits``: it counts in windows, which let twice as many through at their edge,
or keeps a list of all calls; a limit a minute and one a day are two counts, so a call that the
second one refuses is lost in the first; it goes by the clock of each process, and opens connections
of its own. ``throttled-py`` has a token bucket, for one limit at a time, on its own connections.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING

from instance_lookup.cache.redis_client import Script
from instance_lookup.throttling.limits import DAY, Standing, most_at_once

if TYPE_CHECKING:
    from instance_lookup.cache.redis_client import RedisClient
    from instance_lookup.types import RateLimit

_MICROS = 1_000_000
_CALL = 60 * _MICROS
"""What a call takes out of the bucket, into which ``rpm`` flows each microsecond: so all is in
whole numbers, which stay below 2**53 for every limit that a configuration can have."""
_NO_LIMIT = -1
_THREE = Struct("<ddd")
_LIMITS_KEPT = 1024

# Packed numbers, in and out, take half the time of texts. What is kept in another form counts as
# absent. A call that is refused changes nothing, and is told so by more bytes. The server's clock
# may be set: forward, it fills the bucket once; back, what is in the bucket stays, and it fills on
# from there. The key lives until the bucket is full and the day is over: from then on it is as if
# it was absent.
SCRIPT = Script("""\
local most, rpm, daily = struct.unpack('<ddd', ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local day = math.floor(now / 86400000000)
local level, today, at = most, 0, now
local kept = redis.call('GET', KEYS[1])
if kept and #kept == 24 then
  level, at, today = struct.unpack('<ddd', kept)
  level = math.min(most, level + math.max(0, now - at) * rpm)
  if math.floor(at / 86400000000) ~= day then today = 0 end
end
local refused = level < 60000000 or (daily >= 0 and today >= daily)
if not refused then level, today = level - 60000000, today + 1 end
local value = struct.pack('<ddd', level, now, today)
if not refused or at > now then
  local life = math.max((most - level) / rpm, (day + 1) * 86400000000 - now)
  redis.call('SET', KEYS[1], value, 'EX', math.ceil(life / 1000000))
end
return refused and value .. 'no' or value
""")


def count(cache: RedisClient, key: str, limit: RateLimit) -> Standing:
    """Count a call at ``key``, unless ``limit`` refuses it: atomic, by the clock of the server.

    One round trip. Raises what the client raises.
    """
    answer = cache.run(SCRIPT, key, _packed(limit))
    level, now, today = _THREE.unpack_from(answer)
    most, left = most_at_once(limit), int(level // _CALL)
    more_in = 0.0 if left == most else ((left + 1) * _CALL - level) / limit.rpm / _MICROS
    left_today, day_left = None, DAY - now / _MICROS % DAY
    if limit.daily is not None:
        left_today = max(0, limit.daily - int(today))
    wait = 0.0
    if len(answer) > _THREE.size:
        wait = max(0.0 if left else more_in, day_left if left_today == 0 else 0.0)
    return Standing(wait, left, more_in, left_today, day_left)


@lru_cache(_LIMITS_KEPT)
def _packed(limit: RateLimit) -> bytes:
    daily = _NO_LIMIT if limit.daily is None else limit.daily
    return _THREE.pack(most_at_once(limit) * _CALL, limit.rpm, daily)
