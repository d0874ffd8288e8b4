"""Answers to a failed lookup, for plain and async views."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from django.http import HttpResponse, JsonResponse

from instance_lookup.context import RequestMetadata
from instance_lookup.exceptions import CacheError, InstanceLookupError
from instance_lookup.request.attributes import lookup_for

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase


R = TypeVar("R", bound="HttpResponseBase")

PROBLEM_JSON = "application/problem+json"
"""RFC 9457."""
_PASSING = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_PAGE = """<!doctype html>
<html lang="en"><head><title>{title}</title></head>
<body><h1>{title}</h1><p>Please try again in a moment.</p></body></html>
"""


def problem(request: Any, error: InstanceLookupError) -> dict[str, Any]:
    """Return the problem details of an error: RFC 9457's members, and which request it was."""
    return {
        "type": problem_type(type(error)),
        "title": HTTPStatus(error.status_code).phrase,
        "status": error.status_code,
        "detail": str(error),
        "instance_id": error.instance_id,
        "request_id": RequestMetadata.from_request(request).request_id,
    }


def problem_type(error: type[InstanceLookupError]) -> str:
    """Return the URN that stands for a kind of error in answers."""
    return f"urn:instance-lookup:{error.type.lower().replace('_', '-')}"


def problem_headers(error: InstanceLookupError) -> dict[str, str]:
    """Return the headers that go with an error."""
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return headers


def error_response(request: HttpRequest, error: InstanceLookupError) -> HttpResponse | None:
    """Return the answer to a failed lookup; ``None`` where Django's own handling is right."""
    lookup_for(request).state.fail()
    if isinstance(error, CacheError):
        return None  # management failed, not a lookup: Django's 500 tells the operators
    offered = [PROBLEM_JSON, "application/json", "text/html"]
    if preferred_type(request, offered) != "text/html":
        response: HttpResponse = JsonResponse(
            problem(request, error), status=error.status_code, content_type=PROBLEM_JSON
        )
    elif error.status_code in _PASSING:
        title = HTTPStatus(error.status_code).phrase
        response = HttpResponse(_PAGE.format(title=title), status=error.status_code)
    else:
        return None
    for name, value in problem_headers(error).items():
        response.headers[name] = value
    return quiet(response, error)


def preferred_type(request: HttpRequest, offered: list[str]) -> str | None:
    """Return which of the types ``offered`` the client prefers; ``None``: it takes none of them.

    The first one where its ``Accept`` is too long to be read, which is no error of the site.
    """
    try:
        return request.get_preferred_type(offered)
    except ValueError:
        return offered[0]


def quiet(response: R, error: InstanceLookupError) -> R:
    """Keep Django from logging an outage or a flood, and mailing it, per request.

    An outage is logged once, where it is noticed.
    """
    if error.status_code in _PASSING:
        response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001  # no other way
    return response
