"""A fetcher on a cache that can be interrupted, without a resolver around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from instance_lookup import InstanceConfig
from instance_lookup.cache.health import CacheHealth
from instance_lookup.cache.kinds import instance_kind
from instance_lookup.cache.stats import Counters
from instance_lookup.cache.tiers import TieredCache
from instance_lookup.conf import build_settings
from instance_lookup.fetching.fetcher import Asker, Fetcher
from instance_lookup.fetching.leased_fetcher import LeasedFetcher
from instance_lookup.fetching.service_health import ServiceHealth
from instance_lookup.resilience.deadline import Deadline
from tests.support.monotonic import Monotonic

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService
    from instance_lookup.cache.reading import Reading
    from instance_lookup.fetching.fetcher import Outcome

OLGA = Asker((False, "olga"), "olga", "r1")


class Process:
    """The objects of one process; several may share one cache."""

    def __init__(self, service: DictConfigService, **options: Any) -> None:
        settings, counters = build_settings(options), Counters()
        self.settings, self.counters = settings, counters
        self.service_health = ServiceHealth(settings, counters, "The Config Service")
        kind, health = instance_kind(InstanceConfig), CacheHealth(settings.cache_alias)
        self.cache = TieredCache(kind, settings, counters, health)
        self.fetcher = Fetcher(self.cache, service.get_instance, settings, self.service_health)
        self.fleet = LeasedFetcher(self.fetcher, self.cache, settings)
        self.monotonic = Monotonic(self.fetcher)

    def fetch(self, asked: str = "acme", *, seconds: float = 5) -> Outcome[InstanceConfig]:
        """Ask for what the cache lacks, as olga."""
        reading = read_minted(self.cache, asked)
        return self.fetcher.fetch(asked, reading, OLGA, Deadline.after(seconds))

    def reason(self, asked: str = "acme", *, seconds: float = 5) -> object:
        """Return why there is no answer."""
        error = self.fetch(asked, seconds=seconds).error
        assert error is not None
        return error.details["reason"]


def read_minted(cache: TieredCache[InstanceConfig], asked: str) -> Reading[InstanceConfig]:
    """Return what is held of an id, with a generation to store under, as a fetch reads it."""
    reading = cache.read(asked)
    return cache.read_again(asked) if reading.unminted else reading


def bucket(outcome: Outcome[InstanceConfig]) -> str:
    """Return the bucket of what was found, and nothing else must be in the outcome."""
    assert outcome.error is None
    assert outcome.found is not None
    return outcome.found.document.r2_bucket


def down(verb: str, key: str) -> None:
    """A hook that fails each call to the cache."""
    raise OSError("no route to the cache")


def unwritable(verb: str, key: str) -> None:
    """A hook that fails each write."""
    if verb != "get":
        raise OSError("read-only")


def kept_bucket(process: Process) -> str:
    """Return the bucket of what need not be asked for, wherever it is kept."""
    entry = read_minted(process.cache, "acme").entry
    assert entry is not None
    assert entry.document is not None
    return entry.document.r2_bucket
