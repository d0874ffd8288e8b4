"""The metrics for Prometheus: what is counted, and when."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from django.apps import apps
from prometheus_client import CollectorRegistry, generate_latest

from instance_lookup import InstanceLookupError, InstanceResolver, events
from instance_lookup.contrib.prometheus import exporter as module
from instance_lookup.contrib.prometheus.apps import PrometheusConfig
from instance_lookup.contrib.prometheus.exporter import Exporter
from instance_lookup.operations.gauges import NearHits
from instance_lookup.registry import replace_resolver
from tests.behaviour.contrib.support import ERRORS
from tests.support.lookups import DOWN, SAM, SECRET, Clock, Service, Twin, asks
from tests.support.near import ALIAS, near_caches, near_config, near_resolver, settled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry(auto_describe=True)


@pytest.fixture
def exporter(registry: CollectorRegistry) -> Iterator[Exporter]:
    exporter = Exporter(registry)
    exporter.start()
    yield exporter
    exporter.stop()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def resolver(clock: Clock, service: Service) -> Iterator[InstanceResolver]:
    resolver = InstanceResolver(
        config_service_backend=service, near_cache_size=10, breaker_failures=1
    )
    with replace_resolver(resolver):
        yield resolver


def samples(registry: CollectorRegistry) -> dict[str, float]:
    """Return what a scrape gets, but for zeros, buckets, durations and times of creation."""
    lines = generate_latest(registry).decode().splitlines()
    shown = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {
        name.removeprefix("instance_lookup_"): float(value)
        for name, _, value in shown
        if float(value) and not any(part in name for part in ("_bucket", "_created", "_sum"))
    }


@pytest.mark.usefixtures("exporter")
def test_counts(
    resolver: InstanceResolver,
    registry: CollectorRegistry,
    service: Service,
    call: Twin,
    clock: Clock,
) -> None:
    """Each lookup, call, operation and denial is in the metric of its name."""
    for _ in range(4):
        call(resolver, "resolve", asks())
    with pytest.raises(InstanceLookupError):
        call(resolver, "resolve", asks(SAM))
    call(resolver, "invalidate_cache", "acme")
    assert samples(registry) == {
        'requests_total{outcome="ok",source="service"}': 1,
        'requests_total{outcome="ok",source="cache"}': 1,
        'requests_total{outcome="ok",source="near"}': 2,
        'requests_total{outcome="access_denied",source="none"}': 1,
        'request_duration_seconds_count{source="service"}': 1,
        'request_duration_seconds_count{source="cache"}': 1,
        'request_duration_seconds_count{source="none"}': 1,
        'service_requests_total{outcome="ok"}': 1,
        "service_duration_seconds_count": 1,
        'cache_operations_total{operation="read",outcome="miss"}': 3,  # also before the call, twice
        'cache_operations_total{operation="read",outcome="hit"}': 1,
        'cache_operations_total{operation="write",outcome="ok"}': 1,
        'cache_operations_total{operation="invalidate",outcome="ok"}': 1,
        'denied_total{by="policy"}': 1,
        'invalidations_total{origin="here",scope="instance"}': 1,
        "subscription_up": 1,
    }


@pytest.mark.usefixtures("exporter")
def test_outage(
    resolver: InstanceResolver, registry: CollectorRegistry, service: Service, clock: Clock
) -> None:
    """A stale copy is in the histograms of ages and of what is left, the breaker in its gauge."""
    resolver.resolve(asks())
    clock.now += 3300
    service.failure = DOWN
    resolver.resolve(asks())
    found = samples(registry)
    assert found["breaker_state"] == 2
    assert found["stale_age_seconds_count"] == found["stale_runway_seconds_count"] == 1
    ages = registry.get_sample_value("instance_lookup_stale_age_seconds_sum")
    runways = registry.get_sample_value("instance_lookup_stale_runway_seconds_sum")
    assert (ages, runways) == (3300, 300)


@pytest.mark.usefixtures("exporter")
@pytest.mark.parametrize(("error", "label"), ERRORS)
def test_failure_of_a_backend(
    registry: CollectorRegistry, service: Service, call: Twin, error: Exception, label: str
) -> None:
    """A reason of ours is a label, any other text or class is one label for all of them."""
    service.failure = error
    resolver = InstanceResolver(config_service_backend=service)
    with pytest.raises(InstanceLookupError):
        call(resolver, "resolve", asks())
    assert samples(registry)[f'service_requests_total{{outcome="{label}"}}'] == 1


@pytest.mark.usefixtures("exporter")
def test_entry_and_part_that_are_refused(
    resolver: InstanceResolver, registry: CollectorRegistry, service: Service
) -> None:
    """What is refused is counted by what it is."""
    service.instances["acme"] = {**service.instances["acme"], "features": {"a": "maybe"}}
    resolver.resolve(asks())
    assert samples(registry)['rejected_total{reason="part"}'] == 1


@pytest.mark.usefixtures("exporter")
def test_deliveries(registry: CollectorRegistry) -> None:
    """Deliveries to the webhook are counted by what came of them."""
    for outcome in ("done", "done", "unsigned"):
        events.tell(events.Delivered(outcome))
    found = samples(registry)
    assert found['webhook_deliveries_total{outcome="done"}'] == 2
    assert found['webhook_deliveries_total{outcome="unsigned"}'] == 1


@pytest.mark.usefixtures("exporter")
def test_gauges(resolver: InstanceResolver, registry: CollectorRegistry, service: Service) -> None:
    """Entries in memory and fetches under way are those of the moment of the scrape."""
    seen: dict[str, float] = {}
    service.meanwhile = lambda: seen.update(samples(registry))
    resolver.resolve(asks())
    resolver.resolve(asks())
    found = samples(registry)
    assert seen["flights"] == 1
    assert "flights" not in found
    assert found["near_entries"] == 1


@pytest.mark.usefixtures("exporter")
def test_no_id_is_a_label(
    resolver: InstanceResolver, registry: CollectorRegistry, service: Service
) -> None:
    """No metric names an instance or a user, nor holds a secret."""
    resolver.resolve(asks())
    for name in ("acme", "no-such"):
        with pytest.raises(InstanceLookupError):
            resolver.resolve(asks(SAM, name))
    shown = generate_latest(registry).decode()
    assert not any(text in shown for text in ("acme", "olga", "sam", "no-such", SECRET))


def test_stopped(
    exporter: Exporter, resolver: InstanceResolver, registry: CollectorRegistry
) -> None:
    """After ``stop`` nothing watches, and lookups are counted no more."""
    exporter.stop()
    assert events.watchers == ()
    resolver.resolve(asks())
    assert not [name for name in samples(registry) if name.startswith("requests")]


def test_second_exporter_of_a_registry(exporter: Exporter, registry: CollectorRegistry) -> None:
    """It is refused, and leaves nothing behind that would fail each later scrape."""
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        Exporter(registry)
    assert samples(registry) == {"subscription_up": 1}


def test_near_hits_after_a_reset(resolver: InstanceResolver) -> None:
    """Statistics that are reset lose no hit since, and repeat none."""
    near_hits = NearHits()
    for _ in range(5):
        resolver.resolve(asks())
    assert near_hits.take() == 3
    resolver.cache.reset_stats()
    resolver.resolve(asks())
    assert (near_hits.take(), near_hits.take()) == (1, 0)


def test_near_hits_of_a_child(resolver: InstanceResolver) -> None:
    """A forked child takes its own hits, and leaves its parent's to the parent."""
    near_hits = NearHits()
    for _ in range(5):
        resolver.resolve(asks())
    near_hits._start_over()
    resolver.resolve(asks())
    assert near_hits.take() == 1


@pytest.mark.usefixtures("exporter")
def test_process_that_is_deaf(
    own_redis_server: RedisServer, registry: CollectorRegistry, service: Service
) -> None:
    """While the server of the invalidations is gone the gauge says so, and no longer."""

    def is_up() -> float | None:
        return registry.get_sample_value("instance_lookup_subscription_up")

    with near_caches(**{ALIAS: near_config("redis", own_redis_server.url())}):
        settled(near_resolver())
        assert is_up() == 1
        own_redis_server.kill()
        wait_until(lambda: is_up() == 0)
        own_redis_server.start()
        wait_until(lambda: is_up() == 1)


def test_without_a_resolver(registry: CollectorRegistry, exporter: Exporter) -> None:
    """Before the first lookup there is nothing to tell, and nothing is wrong."""
    assert samples(registry) == {"subscription_up": 1}


def writers() -> int:
    return [thread.name for thread in threading.enumerate()].count("instance-lookup-metrics")


@pytest.fixture
def writing(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exporter]:
    """An exporter in multiprocess mode, which writes at once, and leaves no thread behind."""
    # prometheus_client itself has looked before: its values stay in memory here.
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "unused")
    monkeypatch.setattr(module, "PAUSE", 0.01)
    exporter = Exporter(registry)
    exporter.start()
    yield exporter
    exporter.stop()
    wait_until(lambda: not writers())


def written(exporter: Exporter) -> float:
    """Return the near hits that were written. To collect would bring them up to date."""
    return float(exporter._requests("near", "ok")._value.get())


def test_processes_write_by_themselves(
    writing: Exporter, resolver: InstanceResolver, clock: Clock
) -> None:
    """In multiprocess mode a thread brings near hits and gauges up to date, scraped or not."""
    for _ in range(4):
        resolver.resolve(asks())
    wait_until(lambda: written(writing) == 2)
    writing._start_writer()  # as a thread does that noticed at the same moment
    assert writers() == 1


def test_writer_after_a_stop(writing: Exporter, resolver: InstanceResolver, clock: Clock) -> None:
    """An exporter that is stopped and started again writes by itself again."""
    resolver.resolve(asks())
    wait_until(lambda: writers() == 1)
    writing.stop()
    wait_until(lambda: not writers())
    writing.start()
    resolver.cache.invalidate("acme")
    for _ in range(4):
        resolver.resolve(asks())
    wait_until(lambda: written(writing) == 2)


def test_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app counts once it is ready, and being ready again changes nothing."""
    monkeypatch.setattr(PrometheusConfig, "exporter", None)
    monkeypatch.setattr(
        "instance_lookup.contrib.prometheus.apps.Exporter", lambda: Exporter(CollectorRegistry())
    )
    config = apps.app_configs.get("instance_lookup_prometheus") or PrometheusConfig.create(
        "instance_lookup.contrib.prometheus"
    )
    config.ready()
    first = PrometheusConfig.exporter
    assert first is not None
    config.ready()
    assert first is PrometheusConfig.exporter
    assert len(events.watchers) == 1
    first.stop()
