"""One fetch for all processes: a lease in the shared cache says that one of them is fetching."""

from __future__ import annotations

import math
from time import monotonic
from typing import TYPE_CHECKING, Any

from instance_lookup.cache.codec import UNREADABLE
from instance_lookup.cache.keys import lease_key, new_token
from instance_lookup.cache.keyvalue import key_values

if TYPE_CHECKING:
    from instance_lookup.cache.entry import Generation
    from instance_lookup.cache.health import CacheHealth
    from instance_lookup.cache.kinds import Kind
    from instance_lookup.conf import Settings


class Lease:
    """The right to fetch an id under a generation, for as long as a fetch may take."""

    def __init__(
        self,
        kind: Kind[Any],
        settings: Settings,
        health: CacheHealth,
        asked: str,
        under: Generation,
    ) -> None:
        """Name the lease for the id ``asked`` of a ``kind``; takes nothing yet.

        ``under`` is the generation that was read before the fetch. ``settings`` name the cache and
        how long a call may take, ``health`` is told of failures.
        """
        self._health = health
        self._alias = settings.cache_alias
        self._life = math.ceil(settings.config_service_timeout)
        self._key = lease_key(kind, asked, under)

    def take(self) -> bool:
        """Tell whether to fetch: not where another process holds the lease.

        A cache that fails, or does not know whether it gave the lease, stops no fetch.
        """
        began = monotonic()
        try:
            # "add" is one step on the server: of processes that come together one gets the lease.
            # (On file-based caches two may get it, which costs one call more.)
            return key_values[self._alias].add(self._key, new_token(), self._life) is not False
        except Exception as exc:  # noqa: BLE001  # whatever the backend raises
            self._health.unwritable(exc, began)
            return True

    def is_free(self) -> bool:
        """Tell whether no process holds the lease any more."""
        began = monotonic()
        try:
            return key_values[self._alias].get(self._key) is None
        except UNREADABLE:  # as a process of another release took it
            return False
        except Exception as exc:  # noqa: BLE001
            self._health.unwritable(exc, began)
            return True

    def release(self) -> None:
        """Give the lease back.

        If it ran out meanwhile, it may belong to another process now. It is deleted all the same:
        that costs one call more, and a comparison would cost each release a read.
        """
        if self._health.breaker.wait():  # the cache is down, and the lease ends by itself
            return
        began = monotonic()
        try:
            key_values[self._alias].delete(self._key)
        except Exception as exc:  # noqa: BLE001
            self._health.unwritable(exc, began)
