"""What log records say of the request that they are of: see docs/operations/logging.md."""

from __future__ import annotations

import logging
from typing import Any

from django.http import HttpRequest

from instance_lookup.context import RequestMetadata
from instance_lookup.request import current

NONE = "-"
"""What a record has where there is no request, or none that names an instance."""


class RequestFilter(logging.Filter):
    """Gives each record ``instance_id`` and ``request_id``, for formatters; drops none.

    Goes on a handler, so that it sees the records of all loggers. Does no I/O and no lookup: the
    instance is the one that the request has asked for so far.
    """

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        current.use()

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the two fields, unless the record has them. Return whether to log it: always."""
        fields = record.__dict__
        request = fields.get("request")  # Django's own lines bring it along
        if not isinstance(request, HttpRequest):
            request = current.get()
        about = (NONE, NONE) if request is None else _ids(request)
        for field, value in zip(("instance_id", "request_id"), about, strict=True):
            if fields.get(field) is None:
                fields[field] = value
        return super().filter(record)


def _ids(request: Any) -> tuple[str, str]:
    lookup = request.__dict__.get("_instance_lookup")
    instance_id = None if lookup is None else lookup.instance_id
    request_id = RequestMetadata.from_request(request).request_id
    return instance_id or NONE, request_id or NONE
