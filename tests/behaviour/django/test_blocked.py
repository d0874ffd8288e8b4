"""A blocked instance is refused at each door like any other that the user may not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import get_resolver
from tests.support.doors import BROWSER, CALLERS, Caller

if TYPE_CHECKING:
    from django.contrib.auth.models import User

VIEWS = ("plain", "aplain", "required", "arequired", "mixed", "amixed")


def answer(user: User, view: str, *, is_async: bool, **headers: str) -> tuple[int, Any, bytes]:
    caller = Caller(is_async=is_async).login(user)
    response = caller(view, "acme", x_request_id="r-1", **headers)
    return response.status_code, sorted(response.headers.items()), response.content


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("is_async", CALLERS)
def test_blocked_reads_like_denied(users: dict[str, User], view: str, *, is_async: bool) -> None:
    """The owner gets the answer of a stranger: that it is blocked is not for callers to know."""
    accept = BROWSER if is_async else "*/*"
    denied = answer(users["sam"], view, is_async=is_async, accept=accept)
    assert denied[0] == 403
    get_resolver().block_instance("acme", 3600)
    assert answer(users["olga"], view, is_async=is_async, accept=accept) == denied
