"""The events as spans: of lookups, and in them of reads of the cache and calls.

A span is the current one of its context from its beginning to its end, and jobs run in a copy of
the context of their caller: so a call is in the span of the lookup that began it, in whatever
thread it is made, and coroutines do not see the spans of each other.
"""

from __future__ import annotations

from contextvars import ContextVar
from time import time_ns
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry import context
from opentelemetry.trace import (
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
    get_tracer,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from instance_lookup import events
from instance_lookup.fetching.calls import label

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

_ANSWERS = frozenset({"ok", "not_modified", "denied", "missing", "access_denied"})
_ANSWERS |= {"instance_not_found", "invalid_context", "cancelled"}
"""Outcomes that are no failure of the site or the service."""


class _Open(NamedTuple):
    """A span that has begun, and what its end brings back."""

    span: Span
    token: Token[Context]
    before: _Open | None


_open: ContextVar[_Open | None] = ContextVar("instance_lookup_open_span", default=None)


class Spans:
    """A watcher that makes spans."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        """Make them by ``provider``; ``None``: by the global one."""
        self._tracer = get_tracer("instance_lookup", tracer_provider=provider)
        # Not the global propagator: what a request carries as baggage is none of the service's.
        self._inject = TraceContextTextMapPropagator().inject

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.Began(what="lookup"):
                self._begin("instance_lookup.resolve", SpanKind.INTERNAL)
            case events.Began():
                self._begin("instance_lookup.service_call", SpanKind.CLIENT)
                self._inject(event.headers)
            case events.Lookup():
                _end(
                    event.outcome,
                    {
                        "instance_lookup.source": event.source,
                        "instance_lookup.stale_age": event.stale_age,
                        "instance_lookup.instance_id": event.instance_id,
                    },
                )
            case events.ServiceCall():
                _end(
                    event.outcome,
                    {
                        "http.response.status_code": event.status,
                        f"instance_lookup.{event.kind}_id": event.asked,
                        "instance_lookup.request_id": event.request_id,
                    },
                    error_type=label(event.outcome),  # of few values, by the conventions
                )
            case events.CacheOperation(operation="read"):
                now = time_ns()
                began = now - int(event.seconds * 1e9)
                span = self._tracer.start_span("instance_lookup.cache_read", start_time=began)
                failed = "error" if event.outcome == "error" else None
                _finish(span, event.outcome, {}, failed=failed, at=now)

    def _begin(self, name: str, kind: SpanKind) -> None:
        span = self._tracer.start_span(name, kind=kind)
        token = context.attach(set_span_in_context(span))
        _open.set(_Open(span, token, _open.get()))


def _end(
    outcome: str, attributes: dict[str, str | float | None], *, error_type: str | None = None
) -> None:
    """End the span that began last in this context, if the beginning was told.

    ``error_type`` is what it has for ``error.type`` if it failed; ``None``: the ``outcome``.
    """
    if (last := _open.get()) is not None:
        _open.set(last.before)
        context.detach(last.token)
        failed = None if outcome in _ANSWERS else error_type or outcome
        _finish(last.span, outcome, attributes, failed=failed)


def _finish(
    span: Span,
    outcome: str,
    attributes: dict[str, str | float | None],
    *,
    failed: str | None,
    at: int | None = None,
) -> None:
    """End a ``span`` with its ``outcome``, and those ``attributes`` that have a value.

    ``failed`` is the ``error.type`` of a span that failed, ``None`` of any other. ``at`` is in
    nanoseconds of Unix time (``None``: now).
    """
    span.set_attribute("instance_lookup.outcome", outcome)
    for name, value in attributes.items():
        if value is not None:
            span.set_attribute(name, value)
    if failed is not None:
        span.set_attribute("error.type", failed)
        span.set_status(Status(StatusCode.ERROR))
    span.end(at)
