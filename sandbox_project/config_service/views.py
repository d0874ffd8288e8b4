"""The three resources of the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotModified,
    JsonResponse,
)
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt

from config_service.bodies import instance_body, page_body, project_body
from config_service.etags import none_match, strong_etag
from config_service.gate import user_id
from config_service.middleware import is_api
from config_service.models import Instance, Project
from config_service.paging import (
    DEFAULT_LIMIT,
    decode_cursor,
    encode_cursor,
    parse_limit,
)
from config_service.problems import Problem

P = ParamSpec("P")
T = TypeVar("T")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def read_only(view: View[P]) -> View[P]:
    """Answer 405 to what would write."""

    @csrf_exempt  # a POST deserves its 405, not a page about cookies
    @wraps(view)
    def inner(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if request.method not in {"GET", "HEAD"}:
            raise Problem(405, "Use GET.", {"Allow": "GET, HEAD"})
        return view(request, *args, **kwargs)

    return inner


@read_only
def instance_detail(request: HttpRequest, instance_id: str) -> HttpResponse:
    """Answer the configuration of one instance."""
    instance = Instance.objects.filter(pk=instance_id).first()
    if instance is None:
        raise Problem(404, f"There is no instance {instance_id!r}.")
    check_user(request, instance)
    return document(request, instance_body(instance))


@read_only
def project_detail(request: HttpRequest, project_id: str) -> HttpResponse:
    """Answer which instance a project belongs to."""
    project = Project.objects.select_related("instance").filter(pk=project_id).first()
    if project is None:
        raise Problem(404, f"There is no project {project_id!r}.")
    check_user(request, project.instance)
    return document(request, project_body(project))


@read_only
def instance_list(request: HttpRequest) -> HttpResponse:
    """Answer one page of the ids of all instances, in the order of the ids."""
    after = query_value(request, "cursor", decode_cursor, "")
    limit = query_value(request, "limit", parse_limit, DEFAULT_LIMIT)
    # One more than asked for tells whether there is a next page.
    found = Instance.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)
    ids = list(found[: limit + 1])
    more = len(ids) > limit
    return JsonResponse(page_body(ids[:limit], encode_cursor(ids[limit - 1]) if more else None))


def query_value(request: HttpRequest, name: str, parse: Callable[[str], T], default: T) -> T:
    """Return a parsed query parameter; ``Problem`` 400 when it does not parse."""
    if name not in request.GET:
        return default
    try:
        return parse(request.GET[name])
    except ValueError as exc:
        raise Problem(400, f"{name}: {exc}.") from exc


def check_user(request: HttpRequest, instance: Instance) -> None:
    """Refuse the users that the instance refuses. Nothing else depends on the user."""
    if user_id(request) in instance.refused_users:
        raise Problem(403, f"This user may not have {instance.instance_id!r}.")


def document(request: HttpRequest, content: dict[str, Any]) -> HttpResponse:
    """Answer a document with its tag, or 304 to a client that holds it."""
    body = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    etag = strong_etag(body)
    if none_match(request.headers.get("If-None-Match"), etag):
        return HttpResponse(body, content_type="application/json", headers={"ETag": etag})
    # Django would write the length of the missing body, 0: wrong for a 304 (RFC 9110, 8.6).
    return HttpResponseNotModified(headers={"ETag": etag, "Content-Length": str(len(body))})


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer 404 where no view is, in the API's format on its paths."""
    if is_api(request):
        return Problem(404, "There is nothing at this path.").response()
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponseBase:
    """Answer 500 after a bug, in the API's format on its paths."""
    if is_api(request):
        return Problem(500, "The service has a fault; its log says more.").response()
    return defaults.server_error(request)
