"""A failover of Redis under load: lookups go on, and invalidations are heard again soon."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import CacheError, InstanceResolver, Source
from instance_lookup.cache.pubsub import channel_of
from tests.outages.outages import lines
from tests.outages.sentinel import Watched, use_watched
from tests.support.lookups import OLGA, Service, asks
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.extras, pytest.mark.full]

IDS = [f"tenant-{number}" for number in range(20)]
READERS = 4
SLOWEST = 5.0
"""Seconds that one lookup may take: some timeouts of half a second, on a busy machine."""
RECOVERED = 20.0
"""Seconds after which all is as before, on a busy machine."""
HEARD = 2.0
"""Seconds until an invalidation is known everywhere: one, and one for a busy machine."""


@pytest.fixture
def servers() -> Iterator[Watched]:
    with Watched() as servers:
        yield servers


class Tenants(Service):
    """A service whose tenants each have a bucket of their own, with a number that goes up."""

    def __init__(self) -> None:
        super().__init__()
        self.version = dict.fromkeys(IDS, 0)
        for name in IDS:
            self.change(name)

    def change(self, name: str) -> int:
        self.version[name] += 1
        bucket = f"{name}:{self.version[name]}"
        self.instances[name] = {"metadata": {"owner": "olga"}, "r2_bucket": bucket}
        return self.version[name]


@dataclass
class Seen:
    """The answers that the readers got."""

    sources: Counter[Source] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    last: dict[str, int] = field(default_factory=dict)


class Readers:
    """Threads that look up one tenant after the other, and judge each answer."""

    def __init__(self, resolver: InstanceResolver) -> None:
        self._resolver = resolver
        self._stopped = threading.Event()
        self.least = dict.fromkeys(IDS, 0)
        """For each tenant the oldest version that a lookup that starts now may return."""
        self.seen = [Seen() for _ in range(READERS)]
        self._threads = [threading.Thread(target=self._read, args=[seen]) for seen in self.seen]

    @contextmanager
    def reading(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in self._threads:
                thread.join(30)

    def all_see(self, name: str, version: int) -> bool:
        return all(seen.last.get(name) == version for seen in self.seen)

    def total(self) -> Counter[Source]:
        """Return how many answers there were, by source."""
        return sum((Counter(seen.sources) for seen in self.seen), Counter())

    def _read(self, seen: Seen) -> None:
        for name in cycle(IDS):
            if self._stopped.wait(0.002):
                return
            least, began = self.least[name], monotonic()
            try:
                result = self._resolver.resolve(asks(OLGA, name))
            except Exception as exc:  # noqa: BLE001  # the test judges
                seen.wrong.append(repr(exc))
                continue
            seen.slowest = max(seen.slowest, monotonic() - began)
            seen.sources[result.source] += 1
            told, _, version = result.config.r2_bucket.partition(":")
            if told != name or int(version) <= least:
                seen.wrong.append(f"{result.config.r2_bucket} for {name}, after {least}")
            seen.last[name] = int(version)


def invalidated(other: InstanceResolver, service: Tenants, readers: Readers, name: str) -> float:
    """Change a tenant, invalidate it as another process would, and return when all knew it."""
    version = service.change(name)
    other.invalidate_cache(name)
    began = monotonic()
    wait_until(lambda: readers.all_see(name, version), HEARD)
    took = monotonic() - began
    readers.least[name] = version - 1  # once known, what was before must not come back
    return took


@contextmanager
def two_on(alias: str, service: Tenants) -> Iterator[list[InstanceResolver]]:
    """Provide resolvers that know of each other by the cache alone, as two processes do."""
    options: Any = {"cache_alias": alias, "near_cache_size": 100}
    yield [InstanceResolver(config_service_backend=service, **options) for _ in range(2)]


def bucket(resolver: InstanceResolver, name: str) -> str:
    return resolver.resolve(asks(OLGA, name)).config.r2_bucket


def is_heard(resolver: InstanceResolver) -> bool:
    channel = channel_of(resolver.settings.cache_alias)
    assert channel is not None
    return channel.sure_until > monotonic()


def reads(resolver: InstanceResolver) -> bool:
    """Tell whether what the cache holds is believed again."""
    return not resolver.cache.tiers.health.log.failing


def killed(servers: Watched) -> None:
    """Let it crash, for good."""
    servers.master.kill()


def hung(servers: Watched) -> None:
    """Let it answer nothing, as behind a partition; it comes back when another leads."""
    servers.master.pause()


def came_back(servers: Watched) -> None:
    servers.master.resume()
    wait_until(servers.demoted, RECOVERED)


@pytest.mark.parametrize("fails", [killed, hung])
def test_failover_under_load(
    servers: Watched, fails: Callable[[Watched], None], caplog: pytest.LogCaptureFixture
) -> None:
    """No wrong answer, no error, and all is as before when the replica leads.

    An invalidation that the cache did not take has not happened: repeated, it is heard everywhere.
    """
    service = Tenants()
    with use_watched(servers) as alias, two_on(alias, service) as (site, other):
        readers = Readers(site)
        with readers.reading():
            wait_until(lambda: is_heard(site), 10)
            for name in IDS[:5]:
                invalidated(other, service, readers, name)
            wait_until(servers.in_step)

            before, calls, began = readers.total(), len(service.calls), monotonic()
            fails(servers)
            unheard = service.change(IDS[0])
            with pytest.raises(CacheError):  # the caller is told that the invalidation failed
                other.invalidate_cache(IDS[0])
            assert bucket(other, IDS[0]) == f"{IDS[0]}:{unheard}"
            wait_until(lambda: servers.promoted, RECOVERED)
            during = readers.total() - before
            wait_until(lambda: is_heard(site), RECOVERED)
            wait_until(lambda: reads(site), RECOVERED)
            assert monotonic() - began < RECOVERED
            calls = len(service.calls) - calls

            wait_until(lambda: bucket(other, IDS[0]) and reads(other), RECOVERED)
            other.invalidate_cache(IDS[0])  # what has not happened is repeated
            assert bucket(other, IDS[0]) == f"{IDS[0]}:{unheard}"
            wait_until(lambda: readers.all_see(IDS[0], unheard), HEARD)
            readers.least[IDS[0]] = unheard - 1
            for name in IDS[5:10]:
                invalidated(other, service, readers, name)
            if fails is hung:
                came_back(servers)
                wait_until(lambda: is_heard(site), RECOVERED)
            for name in IDS[10:]:
                invalidated(other, service, readers, name)
    assert [seen.wrong for seen in readers.seen] == [[]] * READERS
    assert max(seen.slowest for seen in readers.seen) < SLOWEST
    assert during.total() > READERS
    assert calls < readers.total().total() / 10  # it is no stampede on the service
    assert len(lines(caplog)) < 20  # nor one line for each lookup
