"""Metrics and spans for OpenTelemetry: what they say, and whose child each span is."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import baggage, context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from instance_lookup import InstanceLookupError, InstanceResolver, events
from instance_lookup.contrib.opentelemetry.apps import OpenTelemetryConfig
from instance_lookup.contrib.opentelemetry.metrics import Metrics
from instance_lookup.contrib.opentelemetry.spans import Spans
from instance_lookup.registry import replace_resolver
from tests.behaviour.contrib.support import ERRORS
from tests.support.gone import Service as Server
from tests.support.insides import disconnect
from tests.support.lookups import DOWN, SAM, SECRET, Clock, Service, Twin, asks

if TYPE_CHECKING:
    from collections.abc import Iterator

RESOLVE, READ, CALL = (
    f"instance_lookup.{name}" for name in ("resolve", "cache_read", "service_call")
)


class Traces:
    """The spans that have ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def parent_of(self, span: ReadableSpan) -> str | None:
        ids = {each.context.span_id: each.name for each in self.exporter.get_finished_spans()}
        return ids[span.parent.span_id] if span.parent else None


@pytest.fixture
def traces() -> Iterator[Traces]:
    traces = Traces()
    spans = Spans(traces.provider)
    events.watch(spans)
    yield traces
    events.unwatch(spans)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def resolver(clock: Clock, service: Service) -> InstanceResolver:
    return InstanceResolver(config_service_backend=service, near_cache_size=10)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def over_http(server: Server) -> Iterator[InstanceResolver]:
    resolver = InstanceResolver(config_service_url=server.url)
    yield resolver
    disconnect(resolver.backend)


def test_spans_of_a_lookup(resolver: InstanceResolver, traces: Traces, call: Twin) -> None:
    """Reads and the call are in the span of their lookup, and that in the span of its caller."""
    with traces.tracer.start_as_current_span("request"):
        call(resolver, "resolve", asks())
    (lookup,), (call_span,) = traces.named(RESOLVE), traces.named(CALL)
    assert traces.parent_of(lookup) == "request"
    assert [traces.parent_of(span) for span in (call_span, *traces.named(READ))] == [RESOLVE] * 4
    assert lookup.attributes == {
        "instance_lookup.outcome": "ok",
        "instance_lookup.source": "service",
        "instance_lookup.instance_id": "acme",
    }
    assert (lookup.kind, call_span.kind) == (SpanKind.INTERNAL, SpanKind.CLIENT)


def test_nothing_stays_current(resolver: InstanceResolver, traces: Traces, call: Twin) -> None:
    """After a lookup, answered or not, the caller's span is the current one again."""
    with traces.tracer.start_as_current_span("request") as span:
        call(resolver, "resolve", asks())
        with pytest.raises(InstanceLookupError):
            call(resolver, "resolve", asks(SAM))
        assert get_current_span() is span


async def test_lookups_at_the_same_time(
    resolver: InstanceResolver, traces: Traces, service: Service
) -> None:
    """Coroutines do not see the spans of each other."""
    names = [f"tenant{number}" for number in range(8)]
    service.instances |= {
        name: {**service.instances["acme"], "instance_id": name} for name in names
    }

    async def request(name: str) -> None:
        with traces.tracer.start_as_current_span(name):
            await resolver.aresolve(asks(instance_id=name))

    await asyncio.gather(*map(request, names))
    by_id = {span.context.span_id: span for span in traces.exporter.get_finished_spans()}
    for span in traces.named(CALL):
        assert span.attributes is not None
        assert span.parent is not None
        lookup = by_id[span.parent.span_id]
        assert lookup.parent is not None
        asked = span.attributes["instance_lookup.instance_id"]
        assert by_id[lookup.parent.span_id].name == asked
    assert len(traces.named(CALL)) == len(names)


async def test_cancelled_lookup(
    resolver: InstanceResolver, traces: Traces, service: Service
) -> None:
    """A lookup that is cancelled ends its span, without the status of an error."""
    began, going_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    service.meanwhile = lambda: (loop.call_soon_threadsafe(began.set), going_on.wait(10))
    task = asyncio.create_task(resolver.aresolve(asks()))
    await began.wait()
    task.cancel()
    await asyncio.wait([task])
    going_on.set()
    (lookup,) = traces.named(RESOLVE)
    assert lookup.attributes is not None
    assert lookup.attributes["instance_lookup.outcome"] == "cancelled"
    assert lookup.status.status_code is StatusCode.UNSET


def test_service_is_told_the_trace(
    over_http: InstanceResolver, server: Server, traces: Traces
) -> None:
    """The call carries ``traceparent`` of its own span, and nothing of the caller's baggage."""
    token = context.attach(baggage.set_baggage("card", SECRET))
    try:
        over_http.resolve(asks())
    finally:
        context.detach(token)
    (span,), headers = traces.named(CALL), server.received[0].headers
    of_span = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-"
    assert headers["traceparent"].startswith(of_span)
    assert headers["baggage"] is None


def test_call_over_http(over_http: InstanceResolver, server: Server, traces: Traces) -> None:
    """A call has the status by its conventional name, the id that was asked, and its request's."""
    over_http.resolve(asks())
    (span,) = traces.named(CALL)
    assert span.attributes == {
        "instance_lookup.outcome": "ok",
        "http.response.status_code": 200,
        "instance_lookup.instance_id": "acme",
        "instance_lookup.request_id": server.received[0].headers["X-Request-ID"],
    }


def test_failure(
    resolver: InstanceResolver, traces: Traces, service: Service, clock: Clock
) -> None:
    """A call that fails has the status of an error and its type; the stale copy is an answer."""
    resolver.resolve(asks())
    clock.now += 400
    service.failure = DOWN
    resolver.resolve(asks())
    failed, answered = traces.named(CALL)[-1], traces.named(RESOLVE)[-1]
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes is not None
    assert answered.attributes is not None
    assert failed.attributes["error.type"] == "status"
    assert answered.status.status_code is StatusCode.UNSET
    assert answered.attributes["instance_lookup.stale_age"] == 400


@pytest.mark.parametrize(("error", "label"), ERRORS)
def test_failure_of_a_backend(
    reader: InMemoryMetricReader, traces: Traces, service: Service, error: Exception, label: str
) -> None:
    """A reason of ours is an attribute, any other text or class is one for all of them."""
    service.failure = error
    with pytest.raises(InstanceLookupError):
        InstanceResolver(config_service_backend=service).resolve(asks())
    (span,) = traces.named(CALL)
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == label
    found = points(reader)
    assert (found["service.requests"], found["service.duration"]) == ({label: 1}, {label: 1})


def test_denial_is_no_error(resolver: InstanceResolver, traces: Traces) -> None:
    """A user who is refused is no failure of the site."""
    with pytest.raises(InstanceLookupError):
        resolver.resolve(asks(SAM))
    assert traces.named(RESOLVE)[0].status.status_code is StatusCode.UNSET


def test_end_without_a_beginning(traces: Traces) -> None:
    """Spans that are switched on during a lookup do not know of it."""
    events.tell(events.Lookup("cache", "ok", 0.1))
    assert traces.exporter.get_finished_spans() == ()


def test_no_secret_in_spans(resolver: InstanceResolver, traces: Traces) -> None:
    """No attribute holds a key of a configuration."""
    resolver.resolve(asks())
    shown = [span.to_json() for span in traces.exporter.get_finished_spans()]
    assert len(shown) == 5
    assert not any(SECRET in text for text in shown)


@pytest.fixture
def reader(resolver: InstanceResolver) -> Iterator[InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    metrics = Metrics(MeterProvider([reader]))
    events.watch(metrics)
    with replace_resolver(resolver):
        yield reader
    events.unwatch(metrics)


def points(reader: InMemoryMetricReader) -> dict[str, dict[str, float]]:
    """Return the numbers by instrument, and by the values of their attributes."""
    found: dict[str, dict[str, float]] = {}
    for _ in range(2):  # what the first look adds, the second one shows
        data: Any = json.loads(reader.get_metrics_data().to_json())  # type: ignore[union-attr]
    for metric in data["resource_metrics"][0]["scope_metrics"][0]["metrics"]:
        name = metric["name"].removeprefix("instance_lookup.")
        for point in metric["data"]["data_points"]:
            key = " ".join(point["attributes"].values())
            found.setdefault(name, {})[key] = point.get("value", point.get("count"))
    return found


def test_metrics(
    resolver: InstanceResolver,
    reader: InMemoryMetricReader,
    call: Twin,
    clock: Clock,
    service: Service,
) -> None:
    """Each lookup, call, operation and denial is in the instrument of its name."""
    service.instances["acme"] = {**service.instances["acme"], "features": {"a": "maybe"}}
    for _ in range(4):
        call(resolver, "resolve", asks())
    with pytest.raises(InstanceLookupError):
        call(resolver, "resolve", asks(SAM))
    call(resolver, "invalidate_cache", "acme")
    assert points(reader) == {
        "requests": {"service ok": 1, "cache ok": 1, "near ok": 2, "none access_denied": 1},
        "request.duration": {"service": 1, "cache": 1, "none access_denied": 1},
        "service.requests": {"ok": 1},
        "service.duration": {"": 1},
        "cache.operations": {"read miss": 3, "read hit": 1, "write ok": 1, "invalidate ok": 1},
        "denied": {"policy": 1},
        "rejected": {"part": 1},
        "invalidations": {"instance here": 1},
        "breaker.state": {"": 0},
        "subscription.up": {"": 1},
        "near.entries": {"": 0},
        "flights": {"": 0},
    }


def test_metrics_of_an_outage(
    resolver: InstanceResolver, reader: InMemoryMetricReader, clock: Clock, service: Service
) -> None:
    """Stale copies are in the histograms of their age and of what is left."""
    resolver.resolve(asks())
    clock.now += 400
    service.failure = DOWN
    resolver.resolve(asks())
    found = points(reader)
    assert found["stale.age"] == found["stale.runway"] == {"": 1}


def test_deliveries(reader: InMemoryMetricReader) -> None:
    """Deliveries to the webhook are counted by what came of them."""
    for outcome in ("done", "done", "unsigned"):
        events.tell(events.Delivered(outcome))
    assert points(reader)["webhook.deliveries"] == {"done": 2, "unsigned": 1}


def test_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app tells once it is ready, and being ready again changes nothing."""
    monkeypatch.setattr(OpenTelemetryConfig, "metrics", None)
    monkeypatch.setattr(OpenTelemetryConfig, "spans", None)
    config = OpenTelemetryConfig.create("instance_lookup.contrib.opentelemetry")
    for _ in range(2):
        config.ready()
        assert len(events.watchers) == 2
    for watcher in events.watchers:
        events.unwatch(watcher)
