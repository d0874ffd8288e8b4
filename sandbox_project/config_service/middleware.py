"""The one middleware of the API; the admin passes it untouched."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import TYPE_CHECKING

from config_service import gate
from config_service.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponseBase

logger = logging.getLogger("config_service.api")


class ApiMiddleware:
    """Guard, number and log the requests to the API, and answer its problems."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not is_api(request):
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
            gate.check(request)
        except Problem as problem:
            return problem.response()
        return self.get_response(request)

    def process_exception(
        self,
        request: HttpRequest,
        exception: Exception,
    ) -> HttpResponseBase | None:
        """Turn a view's ``Problem`` into its answer."""
        return exception.response() if isinstance(exception, Problem) else None


def is_api(request: HttpRequest) -> bool:
    """Say whether the path is one of the API's, existing or not."""
    # Not by its parts: the path of "OPTIONS *" has none.
    return f"{request.path_info}/".startswith(("/instances/", "/projects/"))


def take_request_id(request: HttpRequest) -> str:
    """Return the caller's ``X-Request-ID`` if it can be logged as it stands, else a new one."""
    given = request.headers.get("X-Request-ID", "")
    return given if re.fullmatch(r"[\x21-\x7e]{1,200}", given) else uuid.uuid4().hex
