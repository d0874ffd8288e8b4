"""A site that Sentry and OpenTelemetry watch: ``python -m tests.support.watched wsgi`` (or asgi).

Alice's request starts our threads, and is answered. Then the service refuses our credential, which
is an ERROR in the middle of Bob's request. What the two saw is printed as one JSON object.
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import sentry_sdk
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sentry_sdk.transport import Transport

from instance_lookup.access import HasFeature
from instance_lookup.testing import FakeConfigService

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer
    from sentry_sdk.envelope import Envelope

communicator: Any = ApplicationCommunicator
is_open = HasFeature("open")


class Collected(Transport):
    """Keeps what would be sent to Sentry."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.events += [item.payload.json for item in envelope.items]


def wsgi_view(request: Any, who: str) -> HttpResponse:
    sentry_sdk.set_tag("who", who)
    return HttpResponse(request.instance_config.instance_id)


async def asgi_view(request: Any, who: str) -> HttpResponse:
    sentry_sdk.set_tag("who", who)
    return HttpResponse((await request.ainstance_config()).instance_id)


urlpatterns = [path("wsgi/<who>", wsgi_view), path("asgi/<who>", asgi_view)]


def over_wsgi(who: str, tracer: Tracer) -> int:
    """Send the request of "who", in a span of that name, and return the status."""
    statuses: list[int] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": f"/wsgi/{who}",
        "SERVER_NAME": "site",
        "SERVER_PORT": "80",
        "HTTP_X_INSTANCE_ID": f"{who}s",
        "HTTP_COOKIE": f"who={who}",
        "wsgi.input": io.BytesIO(),
        "wsgi.url_scheme": "http",
    }
    with tracer.start_as_current_span(who):
        site: Any = get_wsgi_application()
        response = site(
            environ, lambda status, headers, exc_info=None: statuses.append(int(status[:3]))
        )
        response.close()
    return statuses[0]


def over_asgi(who: str, tracer: Tracer) -> int:
    """Send the request of "who", in a span of that name, and return the status."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/asgi/{who}",
        "query_string": b"",
        "headers": [
            (b"host", b"site"),
            (b"x-instance-id", f"{who}s".encode()),
            (b"cookie", f"who={who}".encode()),
        ],
    }

    async def traced(*args: Any) -> None:
        with tracer.start_as_current_span(who):
            await get_asgi_application()(*args)

    async def ask() -> int:
        site: Any = communicator(traced, scope)
        await site.send_input({"type": "http.request"})
        start = await site.receive_output(10)
        await site.receive_output(10)
        await site.wait(10)
        return start["status"]  # type: ignore[no-any-return]

    return asyncio.run(ask())


def main(door: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    collected, exporter, provider = Collected(), InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("site")
    RequestsInstrumentor().instrument(tracer_provider=provider)
    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        transport=collected,
        traces_sample_rate=1.0,
        send_default_pii=True,
        # Threads of Sentry's own, which keep the scope of the request that starts them.
        auto_session_tracking=False,
        enable_backpressure_handling=False,
    )
    ask = {"wsgi": over_wsgi, "asgi": over_asgi}[door]
    instances = {name: {"features": {"open": True}} for name in ("alices", "bobs")}
    with FakeConfigService(instances) as service:
        settings.ROOT_URLCONF = "tests.support.watched"
        settings.INSTANCE_LOOKUP = {
            **service.settings,
            "ALLOW_ANONYMOUS": True,
            "ACCESS_POLICY": "tests.support.watched.is_open",
        }
        statuses = []
        for who, act in (("alice", service.recover), ("bob", lambda: service.fail(401))):
            act()
            statuses.append(ask(who, tracer))
        asked = [request.headers["traceparent"] for request in service.requests]
    sentry_sdk.flush()
    spans = {span.context.span_id: span for span in exporter.get_finished_spans()}
    roots = {f"{span.context.trace_id:032x}": span for span in spans.values() if not span.parent}
    calls = [span for span in spans.values() if span.name == "GET"]
    gc.collect()
    scopes = [each for each in gc.get_objects() if type(each) is sentry_sdk.Scope]
    found = {
        "statuses": statuses,
        "events": collected.events,
        "calls": [spans[span.parent.span_id].name if span.parent else None for span in calls],
        "told": [roots[header.split("-")[1]].name for header in asked],
        "scopes": [scope._tags["who"] for scope in scopes if "who" in scope._tags],
    }
    sys.stdout.write(json.dumps(found, default=str))


if __name__ == "__main__":
    main(sys.argv[1])
