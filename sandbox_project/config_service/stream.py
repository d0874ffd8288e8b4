"""``/stream``: the changes of the outbox as they come, for sites that listen.

Each listener takes a thread, which this server has for each connection: nobody waits for another.
A server with a fixed number of workers needs that many more, or an event loop.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse

from config_service.models import Switches
from config_service.outbox import Change, bell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

LOOK: Final = 0.5
"""Seconds between two looks for what other processes change."""
BATCH: Final = 100


def change_stream(request: HttpRequest) -> HttpResponseBase:
    """Answer with a stream that begins after the change that ``Last-Event-ID`` names."""
    kind = "text/event-stream"
    if request.method == "HEAD":
        return HttpResponse(content_type=kind)
    newest = Change.objects.values_list("pk", flat=True).first() or 0
    after = start(request.headers.get("Last-Event-ID", ""), newest)
    # What stands between must not collect a page before it passes it on.
    headers = {"X-Accel-Buffering": "no"}
    return StreamingHttpResponse(events(after), content_type=kind, headers=headers)


def start(last_event_id: str, newest: int) -> int:
    """Return the change after which to begin: now, if that named is none of this database."""
    is_number = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19
    return min(int(last_event_id), newest) if is_number else newest


def events(after: int) -> Iterator[bytes]:
    """Yield changes and heartbeats until the listener goes, or the service is switched down."""
    # A comment: it is connected. An id without data is no event, and says where to go on from.
    yield f": welcome\nid: {after}\n\n".encode()
    said = monotonic()
    while not Switches.load().down:
        heard = bell.rung
        found = list(Change.objects.filter(pk__gt=after).order_by("pk")[:BATCH])
        for change in found:
            yield f"id: {change.pk}\ndata: {change.body()}\n\n".encode()
            after = change.pk
        if found:
            said = monotonic()
        elif monotonic() - said >= settings.STREAM_HEARTBEAT:
            yield b": heartbeat\n\n"
            said = monotonic()
        if not found:
            bell.wait(heard, LOOK)
