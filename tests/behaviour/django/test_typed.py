"""``InstanceRequest``, the annotation for the requests of views; ``tests/typing`` is for mypy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup.middleware import InstanceConfigMiddleware
from instance_lookup.request import InstanceRequest
from tests.units.test_packaging import run_python

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.test import RequestFactory


def test_requests_are_what_their_annotation_says(rf: RequestFactory) -> None:
    """``isinstance`` agrees with the type checker once the middleware has seen a request."""
    seen: list[Any] = []

    def view(request: HttpRequest) -> Any:
        seen.append(request)

    request = rf.get("/")
    assert not isinstance(request, InstanceRequest)
    InstanceConfigMiddleware(view)(request)
    assert seen == [request]
    assert isinstance(request, InstanceRequest)
    assert type(request).__name__ == "WSGIRequest"


def test_annotation_has_each_attribute_that_a_request_gets(request_: Any) -> None:
    """One that is missing there is unknown to type checkers."""
    ours = {name for name in dir(type(request_)) if "instance" in name and name[0] != "_"}
    declared = {"ainstance_config", "ainstance_lookup", *InstanceRequest.__annotations__}
    assert ours == declared


@pytest.mark.extras
def test_import_takes_neither_drf_nor_settings() -> None:
    """A module that settings name may import it."""
    code = (
        "import sys, instance_lookup.request as ours; from django.conf import settings;"
        "print(ours.InstanceRequest.__name__, 'rest_framework' in sys.modules, settings.configured)"
    )
    assert run_python(code) == "InstanceRequest False False\n"
