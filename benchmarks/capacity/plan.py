"""What is asked: how many instances, how much traffic, which settings."""

from __future__ import annotations

from itertools import accumulate
from math import fsum

from msgspec import Struct

from instance_lookup.cache.near import SIZE
from instance_lookup.conf import Settings

DEFAULTS = Settings()


class Plan(Struct, frozen=True, kw_only=True):
    """A fleet and its traffic. All times are in seconds."""

    instances: int = 100_000
    rps: float = 5000.0
    """Requests a second, of all processes together. Each looks up one instance."""
    processes: int = 200
    skew: float = 1.0
    """The exponent of Zipf's law: the instance of rank ``k`` has a share like ``1 / k ** skew``."""
    missing: float = 0.0
    """The share of requests that name an instance that does not exist."""
    missing_ids: int = 1000
    """How many different ones these name."""
    document: int = 1500
    """Bytes of the JSON of one configuration."""
    service_time: float = 0.05
    """How long the Config Service takes for one answer."""
    ttl: float = DEFAULTS.cache_ttl
    stale_max_age: float = DEFAULTS.stale_max_age
    refresh_ahead: float | None = DEFAULTS.refresh_ahead
    negative_ttl: float = DEFAULTS.negative_ttl
    near_ttl: float = DEFAULTS.near_cache_ttl
    near_size: int = SIZE
    timeout: float = DEFAULTS.config_service_timeout
    soft_timeout: float = DEFAULTS.soft_timeout
    window: int = 300
    """How long each phase is watched, in whole seconds."""
    warm_rate: float = 500.0
    """Calls a second of ``warm_instance_cache --rate``."""
    seed: int = 1

    @property
    def share(self) -> float:
        """The share of its ttl from which on an entry may be refreshed ahead."""
        return 1.0 if self.refresh_ahead is None else self.refresh_ahead

    @property
    def rates(self) -> list[float]:
        """Requests a second for each instance, then for each id that does not exist."""
        weights = [rank**-self.skew for rank in range(1, self.instances + 1)]
        known = self.rps * (1 - self.missing) / fsum(weights)
        rates = [known * weight for weight in weights]
        if self.missing:
            rates += [self.rps * self.missing / self.missing_ids] * self.missing_ids
        return rates

    @property
    def thresholds(self) -> list[float]:
        """The sums of ``rates``, to draw from."""
        return [*accumulate(self.rates)]

    def problem(self) -> str:
        """Return which values do not go together, and what to change; empty: they do."""
        if self.stale_max_age < self.ttl:
            return (
                f"--stale-max-age is {self.stale_max_age:g}, less than --ttl ({self.ttl:g}):"
                " entries would be purged while fresh."
            )
        if self.service_time >= self.timeout / 2:
            return (
                f"--service-time is {self.service_time:g}. It must be below {self.timeout / 2:g},"
                " half of CONFIG_SERVICE_TIMEOUT: from then on each process asks for itself, and"
                " the simulator does not follow that."
            )
        return ""
