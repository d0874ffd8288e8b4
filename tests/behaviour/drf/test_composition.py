"""``&`` and ``|`` of permissions of which one cannot always decide, and ``~``, which is refused."""

from __future__ import annotations

import operator
from itertools import product
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import Http404
from django.urls import path
from rest_framework.permissions import (
    AllowAny,
    BasePermission,
    IsAdminUser,
    IsAuthenticated,
)
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from instance_lookup import (
    ConfigServiceUnavailable,
    InstanceLookupError,
    InstanceNotFound,
    InvalidContext,
)
from instance_lookup.permissions import (
    HasInstanceFeature,
    IsInstanceAdmin,
    IsInstanceOwner,
    IsInstanceOwnerOrAdmin,
)
from tests.behaviour.drf.views import NameToken
from tests.support.doors import CALLERS, PROBLEM, Caller, Somebody, owned_by, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instance_lookup.backends.memory import DictConfigService

    Judge = Callable[["Kleene"], "Kleene"]  # what a composition comes to, given what ours does

pytestmark = pytest.mark.urls(__name__)

DOWN = ConfigServiceUnavailable("down", retry_after=6.2)
OLGA, SAM = Somebody("olga", is_staff=False), Somebody("sam", is_staff=False)
ROW = SimpleNamespace(instance_id="acme")
OTHER_ROW = SimpleNamespace(instance_id="other")

Kleene = bool | None
"""``None``: cannot be decided."""


class DenyAll(BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return False

    def has_object_permission(self, request: Any, view: Any, obj: Any) -> bool:
        return False


@pytest.fixture
def service(settings: Any) -> DictConfigService:
    service = serve(settings)
    service.instances["acme"] = owned_by(OLGA, features={"beta": True})
    return service


def asked(user: Any, instance: str | None = "acme") -> Any:
    """Return DRF's request of a user, as a view has it."""
    headers = {} if instance is None else {"X-Instance-ID": instance}
    request = APIRequestFactory().get("/", headers=headers)
    force_authenticate(request, user)
    return APIView().initialize_request(request)


# -- the truth table -----------------------------------------------------------------------------

LEAVES: list[tuple[Any, str]] = [
    (IsInstanceOwner, "ours"),
    (AllowAny, "yes"),
    (DenyAll, "no"),
    (~DenyAll, "yes"),
]


def both(left: Kleene, right: Kleene) -> Kleene:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def either(left: Kleene, right: Kleene) -> Kleene:
    if left is True or right is True:
        return True
    return None if left is None or right is None else False


OPERATIONS: list[tuple[Any, Callable[[Kleene, Kleene], Kleene]]] = [
    (operator.and_, both),
    (operator.or_, either),
]


def leaf(kind: str) -> Judge:
    return lambda ours: {"ours": ours, "yes": True, "no": False}[kind]


def joined(
    combine: Callable[[Kleene, Kleene], Kleene],
    left: Judge,
    right: Judge,
) -> Judge:
    return lambda ours: combine(left(ours), right(ours))


def compositions() -> Iterator[tuple[Any, Judge]]:
    """Yield every composition two operators deep, of plain ones, of ours, and of both."""
    singles = [(permission, leaf(kind)) for permission, kind in LEAVES]
    pairs = [
        (operate(left, right), joined(combine, judge_left, judge_right))
        for (operate, combine), (left, judge_left), (right, judge_right) in product(
            OPERATIONS, singles, singles
        )
    ]
    yield from pairs
    for (operate, combine), (left, judge_left), (right, judge_right) in product(
        OPERATIONS, pairs, singles + pairs
    ):
        yield operate(left, right), joined(combine, judge_left, judge_right)
        yield operate(right, left), joined(combine, judge_right, judge_left)


@pytest.mark.parametrize("of_object", [False, True], ids=["request", "object"])
@pytest.mark.parametrize(
    ("user", "instance", "obj", "ours"),
    [
        pytest.param(OLGA, "acme", ROW, True, id="allows"),
        pytest.param(SAM, "acme", ROW, False, id="denies"),
        pytest.param(AnonymousUser(), "acme", ROW, False, id="anonymous"),
        pytest.param(OLGA, "acme", OTHER_ROW, False, id="denies the object"),
        pytest.param(OLGA, None, ROW, InvalidContext, id="400"),
        pytest.param(OLGA, "gone", ROW, InstanceNotFound, id="404"),
        pytest.param(OLGA, "down", ROW, ConfigServiceUnavailable, id="503"),
    ],
)
def test_composition_follows_three_valued_logic(
    *, service: DictConfigService, user: Any, instance: Any, obj: Any, ours: Any, of_object: bool
) -> None:
    """A composition is undecided only where the undecided part matters, in each order."""
    if obj is OTHER_ROW and not of_object:
        ours = True
    service.failure = DOWN if instance == "down" else None
    request, view = asked(user, instance), APIView()
    for permission, judge in compositions():
        asks = permission()
        try:
            came_out: Any = (
                asks.has_object_permission(request, view, obj)
                if of_object
                else asks.has_permission(request, view)
            )
        except InstanceLookupError as exc:
            came_out = type(exc)
        expected = judge(ours if isinstance(ours, bool) else None)

        assert came_out is (ours if expected is None else expected), vars(permission)


# -- ~ -------------------------------------------------------------------------------------------

BETA = HasInstanceFeature("beta")
NEGATIONS: list[Callable[[], object]] = [
    lambda: ~IsInstanceOwner,
    lambda: ~BETA,
    lambda: ~(IsInstanceOwner | BETA),
    lambda: ~(IsInstanceOwner & BETA),
    lambda: ~(IsInstanceOwner & IsAuthenticated),
    lambda: ~(IsInstanceOwner | IsAuthenticated),
    lambda: ~(IsAuthenticated & IsInstanceOwner),
    lambda: ~(IsAuthenticated | IsInstanceOwner),
    lambda: ~((IsAuthenticated | IsAdminUser) & IsInstanceOwner),
    lambda: ~((IsAuthenticated & IsAdminUser) | IsInstanceOwner),
    lambda: ~(IsInstanceOwner & (IsAuthenticated | IsAdminUser)),
    lambda: ~(~IsAdminUser & IsInstanceOwner),
    lambda: ~(IsInstanceOwner | ~IsAdminUser),
    lambda: ~(~(IsAuthenticated | IsAdminUser) | (IsAdminUser & IsInstanceOwner)),
    lambda: ~((IsAuthenticated | IsAdminUser) & (IsAuthenticated | (IsAdminUser & BETA))),
    lambda: IsAuthenticated | ~(IsAdminUser & IsInstanceOwner),
]


@pytest.mark.parametrize("negation", NEGATIONS, ids=range(len(NEGATIONS)))
def test_composition_with_one_of_ours_cannot_be_negated(negation: Any) -> None:
    """A composition with one of ours cannot be negated: it would let strangers in."""
    with pytest.raises(TypeError, match="enabled=False"):
        negation()


def test_others_are_negated_as_ever(service: DictConfigService) -> None:
    """Other permissions can be negated, alone, beside one of ours or in their own composition."""
    for permission in (~IsAdminUser & IsInstanceOwner, IsInstanceOwner & ~IsAdminUser):
        assert permission().has_permission(asked(OLGA), APIView())
    assert not (~(IsAuthenticated | IsAdminUser))().has_permission(asked(OLGA), APIView())


def test_permission_class_is_a_class_like_any_other() -> None:
    """A composed permission class can be called, compared, hashed and subclassed."""

    class Mine(IsInstanceOwner):
        message = "mine"

    assert isinstance(Mine(), IsInstanceOwner)
    assert {Mine: 1, IsInstanceOwner: 2}[Mine] == 1
    assert Mine != IsInstanceOwner
    assert (Mine | IsAdminUser) == (Mine | IsAdminUser)
    assert (Mine | IsAdminUser) != (IsAdminUser | Mine)


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("permission", "code", "message"),
    [
        (IsInstanceAdmin | IsAdminUser, "access_denied", "You may not use this instance."),
        (IsAdminUser | IsInstanceAdmin, "access_denied", "You may not use this instance."),
        (IsAuthenticated & IsInstanceAdmin, "access_denied", "You may not use this instance."),
        (
            IsInstanceOwner & HasInstanceFeature("x"),
            "feature_missing",
            "This instance does not have the feature 'x'.",
        ),
        (IsInstanceOwner & IsAdminUser, None, None),
        (IsAdminUser | DenyAll | (DenyAll & IsInstanceOwner), None, None),
    ],
)
def test_refusal_has_message_and_code_of_what_refused(
    service: DictConfigService, permission: Any, code: str | None, message: str | None
) -> None:
    """A composition has the message and code of the part that refused; DRF's own lose both."""
    asks = permission()

    assert not asks.has_permission(asked(OLGA), APIView())
    assert (asks.message, asks.code) == (message, code)


class Jobs(APIView):
    authentication_classes = (NameToken,)
    renderer_classes = (JSONRenderer,)
    permission_classes: Any = (IsInstanceOwnerOrAdmin | IsAdminUser,)

    def get(self, request: Any) -> Response:
        return Response("in")


class Reversed(Jobs):
    permission_classes = (IsAdminUser | IsInstanceOwnerOrAdmin,)


class Nested(Jobs):
    permission_classes = ((IsAuthenticated & IsInstanceOwnerOrAdmin) | (IsAdminUser & AllowAny),)


urlpatterns = [
    path("jobs", Jobs.as_view()),
    path("reversed", Reversed.as_view()),
    path("nested", Nested.as_view()),
]


@pytest.mark.parametrize("name", ["jobs", "reversed", "nested"])
@pytest.mark.parametrize(
    ("instance", "status"), [(None, 400), ("acme", 403), ("gone", 404), ("down", 503)]
)
@pytest.mark.parametrize("is_async", CALLERS)
def test_staff_is_let_in_whatever_the_lookup_does(
    *,
    db: None,
    django_user_model: Any,
    service: DictConfigService,
    name: str,
    instance: str | None,
    status: int,
    is_async: bool,
) -> None:
    """Others get the lookup's own answer; the anonymous are asked to log in, where one decides."""
    django_user_model.objects.create_user("ada", is_staff=True)
    django_user_model.objects.create_user("eve")
    service.failure = DOWN if instance == "down" else None
    caller = Caller(is_async=is_async)

    assert caller(name, instance, authorization="Token ada").status_code == 200
    refused = caller(name, instance, authorization="Token eve")
    assert refused.status_code == status
    assert (refused.headers["Content-Type"] == PROBLEM) is (status in (400, 503))
    anonymous = caller(name, instance)
    assert (anonymous.status_code, anonymous.headers["WWW-Authenticate"]) == (401, "Token")


def test_concealed_object_lets_the_other_operand_decide(
    service: DictConfigService, settings: Any
) -> None:
    """With ``CONCEAL_DENIED`` the 404 is raised only if no other operand lets the user in."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONCEAL_DENIED": True}
    request, view = asked(OLGA), APIView()
    for permission in (IsInstanceOwner | AllowAny, AllowAny | IsInstanceOwner):
        assert permission().has_object_permission(request, view, OTHER_ROW)
    for permission in (IsInstanceOwner | DenyAll, DenyAll | IsInstanceOwner):
        with pytest.raises(Http404):
            permission().has_object_permission(request, view, OTHER_ROW)


def test_outage_is_the_answer_where_another_operand_conceals(service: DictConfigService) -> None:
    """When another operand conceals, an outage of ours is raised: it might have been a yes."""

    class Conceals(DenyAll):
        def has_object_permission(self, request: Any, view: Any, obj: Any) -> bool:
            raise Http404

        def has_permission(self, request: Any, view: Any) -> bool:
            return True

    service.failure = DOWN
    for permission in (IsInstanceOwner | Conceals, Conceals | IsInstanceOwner):
        with pytest.raises(ConfigServiceUnavailable):
            permission().has_object_permission(asked(OLGA, "down"), APIView(), ROW)
