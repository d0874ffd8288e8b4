"""The error pages: what went wrong with the lookup, in words, and where to go from there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from django.shortcuts import render

from instance_lookup import InstanceLookupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

WORDS: Final = {
    400: (
        "Which instance?",
        "Nothing was looked up: a typing error must not land a user in another one's instance. "
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


def error_page(request: HttpRequest, exception: object, *, status: int) -> HttpResponse:
    """Answer with a page of the site. Only our own errors are known to be presentable."""
    ours = isinstance(exception, InstanceLookupError)
    title, advice = (WORDS if ours or status == 503 else OTHER_WORDS)[status]
    context = {"status": status, "title": title, "advice": advice}
    context["detail"] = str(exception) if ours else ""
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
