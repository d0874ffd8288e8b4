"""A site of one view, for requests whose way is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import AnonymousUser, User
from django.http import JsonResponse
from django.urls import path

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse


def with_user(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """Have the header ``X-User`` say who is logged in, in place of a session."""

    def middleware(request: HttpRequest) -> HttpResponse:
        key = request.headers.get("x-user")
        request.user = User(pk=key) if key else AnonymousUser()
        return get_response(request)

    return middleware


def where(request: Any) -> JsonResponse:
    lookup = request.instance_lookup
    return JsonResponse({"source": lookup.source})


urlpatterns = [path("where/", where)]
