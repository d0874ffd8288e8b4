"""What every request to the API passes before its view, and how its errors are answered."""

from __future__ import annotations

import logging
import random
import re
import time
import unicodedata
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from django.conf import settings
from django.http import JsonResponse
from django.utils.crypto import constant_time_compare

from config_service.models import Switches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.http import HttpRequest, HttpResponseBase

logger = logging.getLogger("config_service.api")

PROBLEM_JSON: Final = "application/problem+json"
"""RFC 9457."""
DETAILS: Final = {
    404: "There is nothing at this path.",
    405: "Use GET.",
    500: "The service has a fault; its log says more.",
}
"""For the errors that Django answers by itself."""
REALM: Final = 'Bearer realm="config-service"'
USER_ID_LENGTH: Final = 200
ENCODED: Final = re.compile(r"(?:[\x21-\x24\x26-\x7e]|%[0-9A-Fa-f]{2})+")


class Problem(Exception):
    """An answer other than the document that was asked for."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = HTTPStatus(status), detail, headers

    def response(self) -> HttpResponseBase:
        """Return the HTTP answer. ``about:blank``: the status says all there is to the type."""
        title, status = self.status.phrase, self.status.value
        body = {"type": "about:blank", "title": title, "status": status, "detail": self.detail}
        return JsonResponse(body, status=status, content_type=PROBLEM_JSON, headers=self.headers)


class ApiMiddleware:
    """Guard, number and log the requests to the API; the admin passes untouched."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        # Not by the path's parts: the path of "OPTIONS *" has none.
        if not f"{request.path_info}/".startswith(("/instances/", "/projects/")):
            return self.get_response(request)
        started = time.monotonic()
        request_id = take_request_id(request)
        response = self._answer(request)
        response.headers["X-Request-ID"] = request_id
        # Every answer holds or guards secrets: no cache on the way may keep one.
        response.headers["Cache-Control"] = "private, no-store"
        elapsed = (time.monotonic() - started) * 1000
        line = (request.method, request.get_full_path(), response.status_code, elapsed, request_id)
        logger.info("%s %s %s %.1f ms request_id=%s", *line)
        return response

    def _answer(self, request: HttpRequest) -> HttpResponseBase:
        try:
            obey(Switches.load())
            check_credential(request)
            user_id(request)
        except Problem as problem:
            return problem.response()
        response = self.get_response(request)
        status = response.status_code
        if status < 400 or response.headers["Content-Type"] == PROBLEM_JSON:
            return response
        headers = {name: text for name, text in response.headers.items() if name == "Allow"}
        return Problem(status, DETAILS.get(status, "No more is known."), headers).response()

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        return exception.response() if isinstance(exception, Problem) else None


def take_request_id(request: HttpRequest) -> str:
    """Return the caller's ``X-Request-ID`` if it can be logged as it stands, else a new one."""
    given = request.headers.get("X-Request-ID", "")
    return given if re.fullmatch(r"[\x21-\x7e]{1,200}", given) else uuid.uuid4().hex


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
