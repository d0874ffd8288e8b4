"""Where calls are counted, and what it means that they cannot be."""

from __future__ import annotations

from time import sleep, time
from typing import TYPE_CHECKING

from instance_lookup.cache.health import CACHE_SKIPPED
from instance_lookup.cache.keys import throttle_key
from instance_lookup.cache.keyvalue import DjangoCache, key_values
from instance_lookup.cache.redis_client import RedisClient, has_none_left
from instance_lookup.conf import on_change
from instance_lookup.exceptions import forget_locals
from instance_lookup.resilience.breaker import Breaker
from instance_lookup.resilience.health import Health
from instance_lookup.throttling import buckets, windows
from instance_lookup.throttling.limits import closed

if TYPE_CHECKING:
    from instance_lookup.cache.keyvalue import KeyValue
    from instance_lookup.throttling.limits import Standing
    from instance_lookup.types import RateLimit

_SCRIPTS = frozenset({"NoPermissionError", "ResponseError"})
"""What the server's "no" to a script is called, by redis-py and valkey-py."""


_PAUSES = (0.001, 0.004, 0.016, 0.064)
"""Seconds to wait for a connection, where a pool has none left: those in use are soon back."""


class Counter:
    """Counts calls in one cache alias, for all processes that share it.

    A cache that fails is left alone for a while: it would cost every call its timeout.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._breaker = Breaker(failures=1, reset=CACHE_SKIPPED, probe=CACHE_SKIPPED)
        self._log = Health(f"The count of rate limits in the cache {alias!r}")

    def count(
        self, name: str, instance_id: str, limit: RateLimit, *, fail_open: bool
    ) -> Standing | None:
        """Count a call of an instance; return how it stands, ``None``: that is not known.

        ``name`` is what the configuration calls the ``limit``; ``fail_open`` is for the log: what
        becomes of calls that are not counted. Blocks.
        """
        now = time()
        if (standing := closed(limit, now)) is not None:
            return standing
        if not self._breaker.enter():
            return None
        key = throttle_key(name, instance_id)
        try:
            cache = key_values[self._alias]
            if isinstance(cache, RedisClient):
                standing = _in_bucket(cache, key, limit)
            else:
                self._warn_of_losses(cache)
                standing = windows.count(cache, key, limit, now)
        except Exception as exc:  # noqa: BLE001  # whatever the backend raises
            if has_none_left(exc) and self._breaker.is_closed:
                self._warn_of_pool()  # it costs no timeout, and the server is there
                return None
            self._breaker.failed()
            self._failed(exc, fail_open=fail_open)
            return None
        if not self._breaker.is_closed:
            self._breaker.succeeded()
            self._log.ok()
        return standing

    def _warn_of_losses(self, cache: KeyValue) -> None:
        """Say once that a cache loses calls: it adds in two steps, and others may come between."""
        if isinstance(cache, DjangoCache) and not cache.counts_each:
            self._log.failed(
                "losses",
                f"The cache {self._alias!r} loses some of the calls that come at the same moment,"
                " so rate limits let too many through. Redis, Valkey and memcached lose none.",
                part="each call",
            )

    def _warn_of_pool(self) -> None:
        """Say once that the pool of connections is too small."""
        self._log.failed(
            "pool",
            f"The cache {self._alias!r} has no connection left for some of the calls that come at"
            " the same moment: they are not counted, as in an outage. Give its pool as many"
            " connections as the process has threads (max_connections).",
            part="a connection for each call",
        )

    def _failed(self, exc: Exception, *, fail_open: bool) -> None:
        forget_locals(exc)
        kind = type(exc).__name__
        meanwhile = "are let through" if fail_open else "get 503"
        advice = (
            "Its user must be allowed EVALSHA, EVAL, TIME, GET and SET, and the server must run Lua"
            if kind in _SCRIPTS
            else "Check its server"
        )
        self._log.failed(
            kind,
            f"The cache {self._alias!r} cannot count calls for rate limits ({kind}): they"
            f" {meanwhile}, as THROTTLE_FAIL_OPEN says. {advice}. It is tried again every"
            f" {CACHE_SKIPPED:g} s.",
        )


def _in_bucket(cache: RedisClient, key: str, limit: RateLimit) -> Standing:
    """Count on Redis. A crowd that empties the pool of connections must not escape its limit."""
    for pause in _PAUSES:
        try:
            return buckets.count(cache, key, limit)
        except Exception as exc:
            if not has_none_left(exc):
                raise
        sleep(pause)
    return buckets.count(cache, key, limit)


_counters: dict[str, Counter] = {}


def get_counter(alias: str) -> Counter:
    """Return the counter of a cache alias: one for all threads, and for all limits."""
    if (counter := _counters.get(alias)) is None:
        # One step: of two threads that come here at the same moment, both use the first one's.
        counter = _counters.setdefault(alias, Counter(alias))
    return counter


on_change(_counters.clear)
