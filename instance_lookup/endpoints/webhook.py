"""The endpoint that the Config Service tells of changes: Standard Webhooks."""

from __future__ import annotations

from http import HTTPStatus
from time import time
from typing import TYPE_CHECKING

from django.http import HttpResponse, JsonResponse
from django.http.request import UnreadablePostError

from instance_lookup.concurrency.pools import in_executor
from instance_lookup.conf import get_settings
from instance_lookup.context import RequestMetadata
from instance_lookup.endpoints.exempt import for_programs
from instance_lookup.push.receiver import Answer, get_receiver, tell
from instance_lookup.request.problems import PROBLEM_JSON

if TYPE_CHECKING:
    from django.http import HttpRequest

MOST_BYTES = 65_536
"""Of a body. An event has some hundred."""


# A coroutine: under ASGI a function would wait for the one thread of all views that are functions.
@for_programs  # the signature says who sends it
async def webhook(request: HttpRequest) -> HttpResponse:
    """Take a delivery: 204 if it had its effect, now or before; 202 if it is of no known type.

    Without ``WEBHOOK_SECRETS`` there is no such page. The answer says nothing of the cache.
    """
    if request.method != "POST":
        return _response(request, Answer("malformed", 405, "Deliveries are made by POST."))
    if not get_settings().webhook_secrets:
        return _response(request, Answer("malformed", 404, "This site takes no deliveries."))
    body = _read(request)
    if isinstance(body, Answer):
        tell(body.outcome)
        return _response(request, body)
    source = request.META.get("REMOTE_ADDR") or ""
    receive = get_receiver().receive
    answer = await in_executor(receive, request.headers, body, source=source, now=time())
    return _response(request, answer)


def _read(request: HttpRequest) -> bytes | Answer:
    """Return the body, or what to answer. One that is too long is not read, or not to its end."""
    length = request.META.get("CONTENT_LENGTH") or ""
    too_long = Answer("malformed", 413, f"A body has {MOST_BYTES} bytes at most.")
    if length.isdecimal() and (len(length) > len(str(MOST_BYTES)) or int(length) > MOST_BYTES):
        return too_long
    try:
        # Not request.body: that has a bound of the site's, DATA_UPLOAD_MAX_MEMORY_SIZE.
        body: bytes = request.read(MOST_BYTES + 1)
    except UnreadablePostError:
        return Answer("malformed", 400, "The body ended early.")
    if len(body) > MOST_BYTES:
        return too_long
    if not body and not length:  # WSGI has none for a body that is sent in chunks
        return Answer("malformed", 411, "Send Content-Length, and a body that is not chunked.")
    return body


def _response(request: HttpRequest, answer: Answer) -> HttpResponse:
    status = HTTPStatus(answer.status)
    response = HttpResponse()
    if answer.detail:
        problem = {
            "type": "about:blank",
            "title": status.phrase,
            "status": answer.status,
            "detail": answer.detail,
            "request_id": RequestMetadata.from_request(request).request_id,
        }
        response = JsonResponse(problem, content_type=PROBLEM_JSON)
    else:
        del response.headers["Content-Type"]
    response.status_code = answer.status
    response.headers["Cache-Control"] = "no-store"
    if answer.retry_after is not None:
        response.headers["Retry-After"] = str(answer.retry_after)
    if status is HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Webhook-Signature"
    elif status is HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = "POST"
    # Django would log, and mail, each refused delivery. The receiver logs on a change of state.
    response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001  # no other way
    return response
