"""What the log leaves out."""

from __future__ import annotations

import logging


class _OnlyTracebacks(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is not None


def only_tracebacks() -> logging.Filter:
    """Return a filter that lets pass what went wrong in the code, not what was answered."""
    return _OnlyTracebacks()
