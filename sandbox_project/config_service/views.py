"""The API: what every request to it passes, its three resources, and the way to the stream."""

from __future__ import annotations

import logging
import random
import re
import time
import unicodedata
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import get_conditional_response, set_response_etag
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt

from config_service.models import Instance, Project, Switches
from config_service.stream import change_stream
from config_service.validators import ID_PATTERN, RATE_LIMIT_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http.response import HttpResponseBase

logger = logging.getLogger("config_service.api")

REALM: Final = 'Bearer realm="config-service"'
USER_ID_LENGTH: Final = 200
ENCODED: Final = re.compile(r"(?:[\x21-\x24\x26-\x7e]|%[0-9A-Fa-f]{2})+")
DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000


class Problem(Exception):
    """An answer other than the document that was asked for."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = HTTPStatus(status), detail, headers

    def response(self) -> HttpResponse:
        """Return it by RFC 9457. ``about:blank``: the status says all there is to the type."""
        title, status = self.status.phrase, self.status.value
        body = {"type": "about:blank", "title": title, "status": status, "detail": self.detail}
        kind = "application/problem+json"
        return JsonResponse(body, status=status, content_type=kind, headers=self.headers)


# --- what every request passes --------------------------------------------------------------------


@csrf_exempt  # a POST deserves its 405, not a page about cookies
def api(request: HttpRequest, path: str) -> HttpResponseBase:
    """Answer a request to ``/stream``, or below ``/instances`` or ``/projects``, and log it."""
    started = time.monotonic()
    given = request.headers.get("X-Request-ID", "")
    # Only one that can be logged as it stands.
    request_id = given if re.fullmatch(r"[\x21-\x7e]{1,200}", given) else uuid.uuid4().hex
    try:
        response = answer(request, path)
    except Problem as problem:
        response = problem.response()
    except Exception:
        logger.exception("A fault of the service, in request %s", request_id)
        response = Problem(500, "The service has a fault; its log says more.").response()
    response.headers["X-Request-ID"] = request_id
    # Every answer holds or guards secrets: no cache on the way may keep one.
    response.headers["Cache-Control"] = "private, no-store"
    elapsed = (time.monotonic() - started) * 1000
    line = (request.method, request.get_full_path(), response.status_code, elapsed, request_id)
    logger.info("%s %s %s %.1f ms request_id=%s", *line)
    return response


def answer(request: HttpRequest, path: str) -> HttpResponseBase:
    """Answer a request, or raise ``Problem``. The order of the faults is that of the contract."""
    obey(Switches.load())
    check_credential(request)
    user = user_id(request)
    kind, _, name = path.partition("/")
    has_no_name = path in {"instances", "stream"}
    if not has_no_name and (not name or "/" in name or kind == "stream"):
        raise Problem(404, "There is nothing at this path.")
    if request.method not in {"GET", "HEAD"}:
        raise Problem(405, "Use GET.", {"Allow": "GET, HEAD"})
    if path == "stream":
        return change_stream(request)
    if path == "instances":
        return instance_page(request)
    build = instance_body if kind == "instances" else project_body
    return document(request, build(name, user))


def obey(switches: Switches) -> None:
    """Be slow, down or faulty, as the switches say."""
    seconds = switches.retry_after
    retry_after = {} if seconds is None else {"Retry-After": str(seconds)}
    if switches.slow:
        time.sleep(switches.slow)
    if switches.down:
        raise Problem(503, "The service is switched off.", retry_after)
    if random.random() * 100 < switches.errors:
        status = switches.errors_status
        headers = retry_after if status in {429, 503} else None
        raise Problem(status, "The service was told to answer this.", headers)


def check_credential(request: HttpRequest) -> None:
    """Require ``Authorization: Bearer`` with the configured token."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Problem(401, "A bearer token is required.", {"WWW-Authenticate": REALM})
    if not constant_time_compare(token.strip(), settings.CONFIG_SERVICE_TOKEN):
        challenge = f'{REALM}, error="invalid_token"'
        raise Problem(401, "The bearer token is wrong.", {"WWW-Authenticate": challenge})


def user_id(request: HttpRequest) -> str | None:
    """Return the user that ``X-User-ID`` names; ``None`` where it is not sent."""
    raw = request.headers.get("X-User-ID")
    if raw is None:
        return None
    if not ENCODED.fullmatch(raw):
        raise Problem(400, "X-User-ID must be visible ASCII, all else percent-encoded.")
    try:
        value = unquote(raw, errors="strict")
    except UnicodeDecodeError as exc:
        raise Problem(400, "X-User-ID is not UTF-8, percent-encoded.") from exc
    if len(value) > USER_ID_LENGTH:
        raise Problem(400, f"X-User-ID has more than {USER_ID_LENGTH} characters.")
    if any(unicodedata.category(char) == "Cc" for char in value):
        raise Problem(400, "X-User-ID must not hold control characters.")
    return value


# --- documents ------------------------------------------------------------------------------------


def document(request: HttpRequest, content: dict[str, Any]) -> HttpResponseBase:
    """Answer a document with its tag, or 304 to a client that holds it."""
    full = JsonResponse(content, json_dumps_params={"sort_keys": True})
    set_response_etag(full)
    response = get_conditional_response(request, full.headers["ETag"], None, full) or full
    # Django would write the length of a 304's missing body, 0: wrong (RFC 9110, 8.6).
    response.headers["Content-Length"] = str(len(full.content))
    return response


def project_body(project_id: str, user: str | None) -> dict[str, Any]:
    """Return which instance a project belongs to."""
    project = Project.objects.filter(pk=project_id).first()
    if project is None:
        raise Problem(404, f"There is no project {project_id!r}.")
    instance = find_instance(project.instance_id, user)
    return {"project_id": project.project_id, "instance_id": instance.instance_id}


def find_instance(instance_id: str, user: str | None) -> Instance:
    """Return an instance, unless it refuses this user. Nothing else depends on the user."""
    instance = Instance.objects.filter(pk=instance_id).first()
    if instance is None:
        raise Problem(404, f"There is no instance {instance_id!r}.")
    if user in instance.refused_users:
        raise Problem(403, f"This user may not have {instance_id!r}.")
    return instance


def instance_body(instance_id: str, user: str | None) -> dict[str, Any]:
    """Return the configuration of one instance."""
    instance = find_instance(instance_id, user)
    names = ("name", "description", "owner", "tenant_id")
    metadata = {name: getattr(instance, name) or None for name in names}
    dates = {"created_at": instance.created_at, "updated_at": instance.updated_at}
    return {
        "instance_id": instance.instance_id,
        "api_keys": instance.api_keys,
        "rate_limits": {name: rate_limit(limit) for name, limit in instance.rate_limits.items()},
        "worker_urls": instance.worker_urls,
        "r2_bucket": instance.r2_bucket,
        "metadata": metadata | dates,
        "features": instance.features,
    }


def rate_limit(limit: dict[str, float | None]) -> dict[str, int | None]:
    """Build one rate limit with all of its fields. What was typed as 60.0 is 60."""
    numbers = {name: limit.get(name) for name in RATE_LIMIT_FIELDS}
    return {name: None if number is None else int(number) for name, number in numbers.items()}


# --- the listing ----------------------------------------------------------------------------------


def instance_page(request: HttpRequest) -> HttpResponse:
    """Answer one page of the ids of all instances, in the order of the ids.

    A cursor names the last id and not a row number, so a page neither repeats nor skips an instance
    when others come or go, and the cursor of a deleted instance still works.
    """
    cursor = request.GET.get("cursor")
    if cursor is not None and not re.fullmatch(f"after:{ID_PATTERN}", cursor):
        raise Problem(400, "cursor: not one of this service.")
    limit = request.GET.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch("[0-9]{1,4}", limit) or not 1 <= int(limit) <= MAX_LIMIT:
        raise Problem(400, f"limit: not a whole number from 1 to {MAX_LIMIT}.")
    after = (cursor or "").removeprefix("after:")
    found = Instance.objects.filter(pk__gt=after).values_list("pk", flat=True)
    # One more than asked for tells whether there is a next page.
    ids = list(found[: int(limit) + 1])
    page, more = ids[: int(limit)], ids[int(limit) :]
    return JsonResponse({"instances": page, "next": f"after:{page[-1]}" if more else None})
