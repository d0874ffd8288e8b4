"""The error pages: what went wrong with the lookup, in words, and where to go from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.shortcuts import render
from django.template.loader import render_to_string

from instance_lookup import InstanceLookupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

WORDS: Final = {
    400: (
        "Which instance?",
        "Nothing was looked up: a typing error must not land anybody in somebody else's instance. "
        "Choose one below.",
    ),
    403: (
        "Not yours",
        "Only the owner of an instance and admins may use it, no matter whether the answer comes "
        "from the Config Service or from the cache.",
    ),
    404: ("Does not exist", "Neither here nor at the Config Service."),
    503: (
        "The Config Service does not answer",
        "And there is no copy recent enough to go on with. Instances that were used within the "
        "last hour go on working. Please try again in a moment.",
    ),
}


OTHER_WORDS: Final = {
    400: ("Bad request", "The studio could not make sense of it."),
    403: ("Not for you", "You may not see this page."),
    404: ("No such page", "The address is wrong, or the page is gone."),
}
"""For what had nothing to do with an instance."""


def page(status: int, exception: object = None) -> dict[str, Any]:
    """Return what the page of an error shows. Only our own errors are known to be presentable."""
    ours = exception is None or isinstance(exception, InstanceLookupError)
    title, advice = (WORDS if ours else OTHER_WORDS)[status]
    detail = str(exception) if ours and exception else ""
    return {"status": status, "title": title, "advice": advice, "detail": detail}


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400."""
    return render(request, "studio/error.html", page(400, exception), status=400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403."""
    return render(request, "studio/error.html", page(403, exception), status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404."""
    return render(request, "studio/error.html", page(404, exception), status=404)


class UnavailablePageMiddleware:
    """Dresses up the 503; Django has handlers for the other three only."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code == 503 and response["Content-Type"].startswith("text/html"):
            # Only the text: Retry-After, Vary and Cache-Control are as they should be.
            response.content = render_to_string("studio/error.html", page(503), request)
        return response
