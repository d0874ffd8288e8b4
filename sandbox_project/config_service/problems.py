"""Errors as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from django.http import JsonResponse

if TYPE_CHECKING:
    from collections.abc import Mapping


class Problem(Exception):
    """An answer other than the document that was asked for."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = HTTPStatus(status)
        self.detail = detail
        self.headers = dict(headers or {})

    def response(self) -> JsonResponse:
        """Return the HTTP answer."""
        return JsonResponse(
            problem_body(self.status, self.detail),
            status=self.status,
            content_type="application/problem+json",
            headers=self.headers,
        )


def problem_body(status: HTTPStatus, detail: str) -> dict[str, object]:
    """Build the body of an error. ``about:blank``: the status says all there is to the type."""
    return {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
    }
