"""``Server-Timing`` says what the lookups of a response took, and no id."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpResponse

from instance_lookup.request.response import ResponseState
from tests.support.doors import CALLERS, Caller

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def timed(response: Any) -> list[str]:
    """Return how each lookup ended, of a header that is well formed."""
    header = response.headers.get("Server-Timing", "")
    assert "acme" not in header
    parts = header.split(", ") if header else []
    for part in parts:
        assert re.fullmatch(r'instance-lookup;dur=\d+\.\d\d;desc="[a-z_]+"', part)
    return [part.split('"')[1] for part in parts]


def ask(settings: Any, wanted: bool | None, caller: Caller, path: str, name: str = "acme") -> Any:
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "SERVER_TIMING": wanted}
    return caller(path, name)


@pytest.mark.parametrize(
    ("wanted", "debug", "told"),
    [(None, False, []), (None, True, ["service"]), (True, False, ["service"]), (False, True, [])],
)
def test_server_timing_is_on_where_it_is_wanted(
    users: dict[str, User], settings: Any, wanted: bool | None, debug: bool, told: list[str]
) -> None:
    """It is on in DEBUG, unless the setting says otherwise."""
    settings.DEBUG = debug
    caller = Caller(is_async=False).login(users["olga"])
    assert timed(ask(settings, wanted, caller, "plain")) == told


@pytest.mark.parametrize(
    ("path", "name", "told"),
    [
        ("plain", "acme", ["service"]),
        ("aplain", "acme", ["service"]),
        ("arequired", "unknown", ["instance_not_found"]),
        ("plain", "no id", ["invalid_context"]),
        ("thrice", "unknown", ["instance_not_found"]),
        ("untouched", "acme", []),
        ("logs_in/sam", "acme", ["service", "access_denied"]),
    ],
)
@pytest.mark.parametrize("is_async", CALLERS)
def test_server_timing_of_each_lookup(
    users: dict[str, User], settings: Any, path: str, name: str, *, told: list[str], is_async: bool
) -> None:
    """Each lookup is timed once, with its source or its error, in sync and async views."""
    caller = Caller(is_async=is_async).login(users["olga"])
    assert timed(ask(settings, True, caller, path, name)) == told


def _fails(user: Any, request: Any = None) -> Any:
    raise ZeroDivisionError


def test_server_timing_of_a_lookup_that_breaks(users: dict[str, User], settings: Any) -> None:
    """A lookup that ends with an error of the project's own is timed as well."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "USER_CONTEXT": _fails}
    caller = Caller(is_async=False).login(users["olga"])
    assert timed(ask(settings, True, caller, "thrice")) == ["error"]


def test_server_timing_of_others_stays() -> None:
    """What another middleware has timed stays, and so many lookups are told as a header takes."""
    original = ResponseState()
    copied = ResponseState(original)
    for _ in range(20):
        copied.time(0.0015, "cache")
    response = HttpResponse(headers={"Server-Timing": "db;dur=3"})
    original.leave(response)
    parts = response.headers["Server-Timing"].split(", ")
    assert parts == ["db;dur=3", *['instance-lookup;dur=1.50;desc="cache"'] * 10]
