"""Queries and services as the tests of the backends want them."""

from __future__ import annotations

from typing import Any

from instance_lookup.backends.base import Query
from instance_lookup.backends.http import HttpConfigService
from instance_lookup.resilience.deadline import Deadline


def query(seconds: float = 5.0, **fields: Any) -> Query:
    return Query(Deadline.after(seconds), fields.pop("request_id", "req-1"), **fields)


def http_service(url: str, **options: Any) -> HttpConfigService:
    return HttpConfigService(url=url, **options)
