"""How many deliveries one source may make in a minute, counted by the cache for all processes."""

from __future__ import annotations

from hashlib import sha256
from ipaddress import IPv6Address, ip_address

from instance_lookup.cache.health import CACHE_SKIPPED
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.resilience.breaker import Breaker
from instance_lookup.resilience.expiring import Expiring

WINDOW = 60
"""Seconds: minutes of the wall clock. Across the end of one there may be twice as many."""
LIMITS = {"signed": 1200, "unsigned": 60}
"""Deliveries of one source in a minute.

Two counts: who forges from behind the sender's proxy does not have the sender refused.
"""


class Limits:
    """Counts deliveries in one cache alias.

    As exact as that counts: database and file-based caches lose some of those that come at the same
    moment. A cache that fails counts nothing, and then no delivery has an effect either. It is left
    alone for a while: forged ones that waited for it would take the threads of all coroutines.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._over: Expiring[bool] = Expiring(WINDOW)
        """The keys of counts that are over: a flood costs the cache no more commands."""
        self.failure: str | None = None
        """Why the last delivery could not be counted: the class of an error. Empty: it was counted.
        ``None``: that was not tried, as the cache had failed a moment before."""
        self._breaker = Breaker(failures=1, reset=CACHE_SKIPPED, probe=CACHE_SKIPPED)

    def wait(self, sort: str, source: str, now: float) -> int:
        """Count a delivery; return 0, or the seconds for which that source has to wait.

        ``sort`` is one of ``LIMITS``, ``source`` an address, ``now`` Unix time. Blocks.
        """
        minute, second = divmod(int(now), WINDOW)
        key = f"instance_webhook_{sort}:{minute}:{sha256(_network(source)).hexdigest()}"
        if not self._over.get(key):
            if self._count(key) <= LIMITS[sort]:
                return 0
            self._over.put(key, value=True)
        return WINDOW - second

    def _count(self, key: str) -> int:
        if not self._breaker.enter():
            self.failure = None
            return 0
        try:
            number = key_values[self._alias].count(key, 2 * WINDOW)
        except Exception as exc:  # noqa: BLE001  # whatever the backend raises
            self._breaker.failed()
            self.failure = type(exc).__name__
            return 0
        self._breaker.succeeded()
        self.failure = ""
        return number


def _network(source: str) -> bytes:
    """Return what one sender has: an IPv4 address, or the 64 bits that begin an IPv6 address."""
    try:
        address = ip_address(source)
    except ValueError:  # a Unix socket has no address, or a proxy sent what is none
        return source.encode(errors="surrogatepass")
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped  # of a server that listens to both
        return address.packed[:8] if mapped is None else mapped.packed
    return address.packed
