"""The error pages: what went wrong with the lookup, in words, and where to go from there."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from django.shortcuts import render

from instance_lookup import InstanceLookupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

TITLES: Final = {
    400: "Which instance?",
    403: "Not yours",
    404: "Does not exist",
    503: "The Config Service does not answer",
}


def error_page(request: HttpRequest, exception: object, *, status: int) -> HttpResponse:
    """Answer with a page of the site. Only our own errors are known to be presentable."""
    ours = isinstance(exception, InstanceLookupError)
    title = TITLES[status] if ours or status == 503 else HTTPStatus(status).phrase
    detail = str(exception) if ours else ""
    context = {"status": status, "title": title, "detail": detail}
    return render(request, "studio/error.html", context, status=status)


bad_request = partial(error_page, status=400)
permission_denied = partial(error_page, status=403)
not_found = partial(error_page, status=404)


class UnavailablePageMiddleware:
    """Dresses up the 503; Django has handlers for the other three only."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code == 503 and response["Content-Type"].startswith("text/html"):
            # Only the text: Retry-After, Vary and Cache-Control are as they should be.
            response.content = error_page(request, None, status=503).content
        return response
