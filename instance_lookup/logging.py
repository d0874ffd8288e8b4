"""What log records say of the work that they are of: see docs/operations/logging.md."""

from __future__ import annotations

import logging
from typing import Any

from django.http import HttpRequest

from instance_lookup.context import RequestMetadata
from instance_lookup.jobs.job import running_job
from instance_lookup.request import current

NONE = "-"
"""What a record has where no instance is current, or no request id is known."""


class RequestFilter(logging.Filter):
    """Gives each record ``instance_id`` and ``request_id``, for formatters; drops none.

    Goes on a handler, so that it sees the records of all loggers. Does no I/O and no lookup: the
    instance is that of the ``use_instance`` block, else the one that the task carries, else the one
    that the request has asked for so far.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the two fields, unless the record has them. Return whether to log it: always."""
        fields = record.__dict__
        request = fields.get("request")  # Django's own lines bring it along
        if isinstance(request, HttpRequest):
            about = _of_request(request)
        elif (block := current.block()) is not None:
            about = (block.result.config.instance_id, block.context.request_metadata.request_id)
        elif (job := running_job()) is not None and job.carried is not None:
            about = (job.carried.instance_id, job.carried.request_id)
        else:
            about = _of_request(current.get())
        for field, value in zip(("instance_id", "request_id"), about, strict=True):
            if fields.get(field) is None:
                fields[field] = value or NONE
        return super().filter(record)


def _of_request(request: Any) -> tuple[str | None, str | None]:
    if request is None:
        return None, None
    lookup = request.__dict__.get("_instance_lookup")
    instance_id = None if lookup is None else lookup.instance_id
    return instance_id, RequestMetadata.from_request(request).request_id
