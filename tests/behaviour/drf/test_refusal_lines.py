"""What DRF's permissions refuse is one line in the log, however they are composed."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from django.http import Http404
from rest_framework.permissions import IsAuthenticated
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from instance_lookup.permissions import (
    HasInstanceFeature,
    IsInstanceAdmin,
    IsInstanceOwner,
    IsInstanceOwnerOrAdmin,
)
from tests.support.doors import Somebody, owned_by, serve

if TYPE_CHECKING:
    from collections.abc import Callable

LOGGER = "instance_lookup.access"
OLGA, SAM, ADA = Somebody("olga"), Somebody("sam"), Somebody("ada", is_superuser=True)
BETA = HasInstanceFeature("beta")
OFF = "HasFeature(feature='beta'): no: the feature is off"
NOT_ADMIN = "IsAdmin: no: asks for 'admin', the user's roles: none"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Returns why, of each refusal so far."""
    caplog.set_level(logging.INFO, LOGGER)
    return lambda: [
        each.getMessage().partition("): ")[2] for each in caplog.records if each.name == LOGGER
    ]


@pytest.fixture(autouse=True)
def service(settings: Any) -> Any:
    service = serve(settings)
    service.instances["acme"] = owned_by(OLGA)
    return service


def asks(permission: Any, user: Any, obj: object = None) -> bool:
    plain = APIRequestFactory().get("/", headers={"X-Instance-ID": "acme"})
    force_authenticate(plain, user)
    request, view = APIView().initialize_request(plain), APIView()
    if obj is None:
        return bool(permission().has_permission(request, view))
    return bool(permission().has_object_permission(request, view, obj))


@pytest.mark.parametrize(
    ("permission", "user", "why"),
    [
        (BETA, OLGA, [OFF]),
        (IsInstanceAdmin | BETA, OLGA, [f"{NOT_ADMIN}; {OFF}"]),
        (IsInstanceOwner & BETA, OLGA, [OFF]),
        (IsInstanceOwner & (IsInstanceAdmin | BETA), OLGA, [f"{NOT_ADMIN}; {OFF}"]),
        (IsAuthenticated & BETA, OLGA, [OFF]),
        (IsInstanceAdmin | IsInstanceOwner, OLGA, []),
        (IsInstanceOwnerOrAdmin, OLGA, []),
    ],
)
def test_refusal_by_a_permission(permission: Any, user: Any, why: list[str], lines: Any) -> None:
    """What all operands come to is one line with the rules of those that refused, or none."""
    assert asks(permission, user) is not bool(why)
    assert lines() == why


@pytest.mark.parametrize("permission", [IsInstanceAdmin, IsInstanceAdmin | BETA, IsInstanceOwner])
def test_lookup_that_is_refused_is_one_line(permission: Any, lines: Any) -> None:
    """Where the lookup itself was refused, the permission adds no second line."""
    assert not asks(permission, SAM)
    (why,) = lines()
    assert why.startswith("IsOwner: no: owner is 'olga', user is 'sam'")


@pytest.mark.parametrize("conceal", [False, True])
@pytest.mark.parametrize("permission", [IsInstanceOwner, BETA | IsInstanceOwner])
def test_refusal_of_an_object(settings: Any, permission: Any, conceal: bool, lines: Any) -> None:
    """An object of another instance is refused with a line that says whose it is."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONCEAL_DENIED": conceal}
    obj = SimpleNamespace(instance_id="globex")
    try:
        assert not asks(permission, OLGA, obj)
    except Http404:
        assert conceal
    (why,) = lines()
    assert why.endswith("SimpleNamespace of instance 'globex', owner None, is not theirs")


@pytest.mark.parametrize("obj", [None, SimpleNamespace(instance_id="globex")])
def test_question_of_the_browsable_api_is_no_refusal(obj: Any, lines: Any) -> None:
    """A form of the browsable API asks what would be permitted: that is no line."""
    plain = APIRequestFactory().get("/", headers={"X-Instance-ID": "acme"})
    force_authenticate(plain, OLGA)
    request, view = APIView().initialize_request(plain), SimpleNamespace()
    view.response = "drawn already"
    assert not BETA().has_permission(request, cast("APIView", view))
    assert not IsInstanceOwner().has_object_permission(request, cast("APIView", view), obj)
    assert lines() == []
