"""One fetch for all processes on one cache: the process that holds the lease does it.

The lease is a key in the shared cache, which says that one of them is fetching.
"""

from __future__ import annotations

from concurrent.futures import wait
from functools import partial
from math import ceil
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from msgspec import Struct

from instance_lookup.cache.codec import UNREADABLE
from instance_lookup.cache.entry import Freshness
from instance_lookup.cache.keys import lease_key, new_token
from instance_lookup.cache.keyvalue import key_values
from instance_lookup.concurrency import pools
from instance_lookup.exceptions import InstanceNotFound
from instance_lookup.fetching.fetcher import Asker, Fetcher, Found, Outcome
from instance_lookup.types import Source

if TYPE_CHECKING:
    from concurrent.futures import Future

    from instance_lookup.cache.reading import Reading
    from instance_lookup.cache.tiers import TieredCache
    from instance_lookup.conf import Settings
    from instance_lookup.resilience.deadline import Deadline

D = TypeVar("D", bound=Struct)

_FIRST_PAUSE, _LAST_PAUSE = 0.02, 0.1
"""Seconds between two looks at what another process is doing."""


class LeasedFetcher(Generic[D]):
    """Fetches what another process is not fetching, else waits for that one."""

    def __init__(self, fetcher: Fetcher[D], cache: TieredCache[D], settings: Settings) -> None:
        """Fetch with ``fetcher``, and look at ``cache`` for what another process has stored.

        ``settings`` say which cache has the leases, and how long a call may take.
        """
        self._fetcher = fetcher
        self._cache = cache
        self._alias = settings.cache_alias
        self._life = ceil(settings.config_service_timeout)

    def fetch(
        self, asked: str, seen: Reading[D], asker: Asker, deadline: Deadline, *, patient: bool
    ) -> Outcome[D]:
        """Return what came of a fetch, by this process or by another one.

        ``asked`` is the id, ``seen`` what the cache held before, ``asker`` the user that the
        service is asked for, ``deadline`` the end of the call. ``patient`` callers wait for another
        process that is fetching; others, who have a copy, get an empty outcome at once.
        """
        if seen.generation is None:
            return self._fetcher.fetch(asked, seen, asker, deadline)
        lease = lease_key(self._cache.kind, asked, seen.generation)
        if not self.take(lease):
            if not patient:
                return Outcome()
            return self._follow(asked, seen, asker, deadline, lease)
        try:
            # Another process may have stored it between our read and our lease.
            latest = self._cache.read_again(asked)
            return newer(latest, seen) or self._fetcher.fetch(asked, latest, asker, deadline)
        finally:
            # After the store: those who see that the lease is gone find the entry.
            self.release(lease)

    def take(self, lease: str) -> bool:
        """Take the lease; return ``False`` if another process holds it.

        A cache that fails, or does not know whether it gave the lease, stops no fetch.
        """
        # "add" is one step on the server: of processes that come together one gets the lease.
        # (On file-based caches two may get it, which costs one call more.)
        return self._ask("add", lease, new_token(), self._life) is not False

    def is_free(self, lease: str) -> bool:
        """Tell whether no process holds the lease any more."""
        return self._ask("get", lease) is None

    def release(self, lease: str) -> None:
        """Give the lease back.

        If it ran out meanwhile, it may belong to another process now. It is deleted all the same:
        that costs one call more, and a comparison would cost each release a read.
        """
        if not self._cache.health.breaker.wait():  # else it ends by itself: the cache is down
            self._ask("delete", lease)

    def _ask(self, verb: Literal["add", "get", "delete"], *args: object) -> object:
        """Return what the cache says to this, ``None`` if it fails."""
        began = monotonic()
        try:
            return getattr(key_values[self._alias], verb)(*args)
        except Exception as exc:  # noqa: BLE001  # whatever the backend raises
            if verb == "get" and isinstance(exc, UNREADABLE):
                return exc  # there is something, as a process of another release wrote it
            self._cache.health.unwritable(exc, began)
            return None

    def _follow(
        self, asked: str, seen: Reading[D], asker: Asker, deadline: Deadline, lease: str
    ) -> Outcome[D]:
        """Wait for the other process; fetch as well half way, or when its lease is gone."""
        half_way = monotonic() + deadline.remaining() / 2
        pause = _FIRST_PAUSE
        own: Future[Outcome[D]] | None = None
        while deadline.remaining():
            pause = min(pause, deadline.remaining())
            if own is None:
                sleep(pause)
            elif wait([own], pause).done:
                return own.result()
            pause = min(_LAST_PAUSE, 1.5 * pause)
            # Before the look at the entry: the other process stores it first, and then gives the
            # lease back. The other way round both may happen in between, and we would ask as well.
            gives_up = own is None and (monotonic() >= half_way or self.is_free(lease))
            latest = self._cache.read_again(asked)
            if outcome := newer(latest, seen):
                return outcome
            if own is None and (gives_up or latest.generation != seen.generation):
                job = partial(self._fetcher.fetch, asked, latest, asker, deadline)
                own = pools.fetches.submit(job)
        return Outcome(error=self._fetcher.unavailable(asked, "timeout"))


def newer(latest: Reading[D], seen: Reading[D]) -> Outcome[D] | None:
    """Return what the cache holds now, if that is fresh and not what was seen before."""
    entry = latest.entry
    if entry is None or entry.freshness is not Freshness.FRESH:
        return None
    if seen.entry is not None and entry.cached_at == seen.entry.cached_at:
        return None
    if entry.document is None:
        return Outcome(error=InstanceNotFound("Another process was just told so."))
    remaining = entry.ttl_remaining(time())
    return Outcome(Found(entry.document, Source.CACHE, entry.cached_at, remaining))
