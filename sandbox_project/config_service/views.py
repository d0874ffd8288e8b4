"""The three resources of the API."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django.http import HttpRequest, JsonResponse
from django.utils.cache import get_conditional_response, set_response_etag
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from config_service.middleware import Problem, user_id
from config_service.models import Instance, Project
from config_service.validators import ID_PATTERN, RATE_LIMIT_FIELDS

if TYPE_CHECKING:
    from django.http.response import HttpResponseBase

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000


@csrf_exempt  # a POST deserves its 405, not a page about cookies
@require_safe
def instance_detail(request: HttpRequest, instance_id: str) -> HttpResponseBase:
    """Answer the configuration of one instance."""
    instance = Instance.objects.filter(pk=instance_id).first()
    if instance is None:
        raise Problem(404, f"There is no instance {instance_id!r}.")
    check_user(request, instance)
    return document(request, instance_body(instance))


@csrf_exempt
@require_safe
def project_detail(request: HttpRequest, project_id: str) -> HttpResponseBase:
    """Answer which instance a project belongs to."""
    project = Project.objects.select_related("instance").filter(pk=project_id).first()
    if project is None:
        raise Problem(404, f"There is no project {project_id!r}.")
    check_user(request, project.instance)
    body = {"project_id": project.project_id, "instance_id": project.instance_id}
    return document(request, body)


@csrf_exempt
@require_safe
def instance_list(request: HttpRequest) -> HttpResponseBase:
    """Answer one page of the ids of all instances, in the order of the ids."""
    try:
        after = decode_cursor(request.GET["cursor"]) if "cursor" in request.GET else ""
        limit = parse_limit(request.GET.get("limit", str(DEFAULT_LIMIT)))
    except ValueError as exc:
        raise Problem(400, str(exc)) from exc
    # One more than asked for tells whether there is a next page.
    found = Instance.objects.filter(pk__gt=after).values_list("pk", flat=True)
    ids = list(found[: limit + 1])
    more = len(ids) > limit
    return JsonResponse(
        {"instances": ids[:limit], "next": encode_cursor(ids[limit - 1]) if more else None}
    )


def check_user(request: HttpRequest, instance: Instance) -> None:
    """Refuse the users that the instance refuses. Nothing else depends on the user."""
    if user_id(request) in instance.refused_users:
        raise Problem(403, f"This user may not have {instance.instance_id!r}.")


def document(request: HttpRequest, content: dict[str, Any]) -> HttpResponseBase:
    """Answer a document with its tag, or 304 to a client that holds it."""
    full = JsonResponse(content, json_dumps_params={"sort_keys": True})
    set_response_etag(full)
    answer = get_conditional_response(request, full.headers["ETag"], None, full) or full
    # Django would write the length of a 304's missing body, 0: wrong (RFC 9110, 8.6).
    answer.headers["Content-Length"] = str(len(full.content))
    return answer


def instance_body(instance: Instance) -> dict[str, Any]:
    metadata = {name: getattr(instance, name) or None for name in METADATA_FIELDS}
    dates = {name: rfc3339(getattr(instance, name)) for name in ("created_at", "updated_at")}
    return {
        "instance_id": instance.instance_id,
        "api_keys": instance.api_keys,
        "rate_limits": {name: rate_limit(limit) for name, limit in instance.rate_limits.items()},
        "worker_urls": instance.worker_urls,
        "r2_bucket": instance.r2_bucket,
        "metadata": metadata | dates,
        "features": instance.features,
    }


METADATA_FIELDS: Final = ("name", "description", "owner", "tenant_id")


def rate_limit(limit: dict[str, float | None]) -> dict[str, int | None]:
    """Build one rate limit with all of its fields. What was typed as 60.0 is 60."""
    numbers = {name: limit.get(name) for name in RATE_LIMIT_FIELDS}
    return {name: None if number is None else int(number) for name, number in numbers.items()}


def rfc3339(moment: datetime) -> str:
    """Format a date in UTC.

    >>> rfc3339(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def encode_cursor(last_id: str) -> str:
    """Return the cursor of the page after ``last_id``.

    It names an id and not a row number, so a page neither repeats nor skips an instance when
    others come or go, and the cursor of a deleted instance still works.
    """
    return urlsafe_base64_encode(f"after:{last_id}".encode())


def decode_cursor(cursor: str) -> str:
    """Return the id that the page comes after; ``ValueError`` for what this service never made."""
    try:
        last_id = urlsafe_base64_decode(cursor).decode().removeprefix("after:")
    except ValueError as exc:
        raise ValueError("cursor: not base64 text.") from exc
    # Encoding it back catches the characters that the decoder leaves out without a word.
    if not re.fullmatch(ID_PATTERN, last_id) or encode_cursor(last_id) != cursor:
        raise ValueError("cursor: not one of this service.")
    return last_id


def parse_limit(text: str) -> int:
    """Return the size of a page; ``ValueError`` unless it is 1 to ``MAX_LIMIT``."""
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise ValueError(f"limit: not a whole number from 1 to {MAX_LIMIT}.")
    return int(text)
