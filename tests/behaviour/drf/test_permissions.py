from __future__ import annotations

import operator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.http import Http404
from django.shortcuts import get_object_or_404
from rest_framework.exceptions import PermissionDenied
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from instance_lookup import get_resolver
from instance_lookup.permissions import (
    HasInstanceFeature,
    IsInstanceAdmin,
    IsInstanceOwner,
    IsInstanceOwnerOrAdmin,
)
from instance_lookup.testing import override_instance_config
from tests.behaviour.drf import views
from tests.support.doors import CALLERS, NO_STORE, Caller, Somebody, owned_by, serve

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService

pytestmark = pytest.mark.urls("tests.behaviour.drf.urls")

HANDLER = {"EXCEPTION_HANDLER": "instance_lookup.permissions.exception_handler"}
NO_FEATURE = HasInstanceFeature("x")
OLGA, SAM, ADA = Somebody("olga"), Somebody("sam"), Somebody("ada", is_superuser=True)


@pytest.fixture
def service(settings: Any) -> DictConfigService:
    service = serve(settings)
    service.instances["acme"] = owned_by(OLGA, features={"beta": True})
    return service


@pytest.fixture
def users(db: None, service: DictConfigService) -> dict[str, User]:
    users = {name: User.objects.create_user(name) for name in ("olga", "sam")}
    users["ada"] = User.objects.create_superuser("ada")
    service.instances["acme"] = owned_by(users["olga"])
    return users


def asked(user: Any, instance: str = "acme") -> Any:
    """Return DRF's request of a user, as a view has it."""
    request = APIRequestFactory().get("/", headers={"X-Instance-ID": instance})
    force_authenticate(request, user)
    return APIView().initialize_request(request)


def allows(permission: Any, user: Any, obj: object = None) -> bool:
    """Ask a permission class, about an object where one is given."""
    request, view = asked(user), APIView()
    if obj is None:
        return bool(permission().has_permission(request, view))
    return bool(permission().has_object_permission(request, view, obj))


# -- has_permission ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("api", {"olga", "ada"}),
        ("open", {"olga", "ada"}),
        ("owners_api", {"olga"}),
        ("admins_api", {"ada"}),
        ("beta", set()),
    ],
)
@pytest.mark.parametrize("is_async", CALLERS)
def test_permission_lets_in_whom_it_names(
    users: dict[str, User], path: str, allowed: set[str], is_async: bool
) -> None:
    """Each permission lets in the owner, an admin, both, or no user while a feature is off."""
    for name in users:
        response = Caller(is_async=is_async)(path, "acme", authorization=f"Token {name}")
        assert response.status_code == (200 if name in allowed else 403), name


def test_feature_lets_in_where_it_is_on(service: DictConfigService) -> None:
    """The feature permission lets users in where the feature is on, after ``ACCESS_POLICY``."""
    assert allows(HasInstanceFeature("beta"), OLGA)
    assert not allows(HasInstanceFeature("beta"), SAM)
    assert not allows(HasInstanceFeature("gamma"), OLGA)


def test_feature_permission_under_override() -> None:
    """An override of the config switches the feature for the permission."""
    for on, status in ((True, 200), (False, 403)):
        with override_instance_config(features={"beta": on}):
            response = views.OwnersOfBeta.as_view()(authenticated(SAM))
        assert response.status_code == status


def authenticated(user: Any, **headers: str) -> Any:
    request = APIRequestFactory().get("/", headers=headers)
    force_authenticate(request, user)
    return request


def test_permission_needs_no_middleware(service: DictConfigService) -> None:
    """Permissions work without the middleware, as with ``APIRequestFactory``."""
    view = views.Api.as_view()

    assert view(authenticated(OLGA, **{"X-Instance-ID": "acme"})).data == {"instance": "acme"}
    assert view(authenticated(SAM, **{"X-Instance-ID": "acme"})).status_code == 403
    assert view(authenticated(OLGA, **{"X-Instance-ID": "gone"})).status_code == 404


def test_classes_compose(service: DictConfigService) -> None:
    """Our permission classes can be combined with & and |, as DRF's own."""
    beta = HasInstanceFeature("beta")

    assert allows(IsInstanceOwner & beta, OLGA)
    assert allows(IsInstanceAdmin | beta, OLGA)
    assert not allows(IsInstanceAdmin & beta, OLGA)


@pytest.mark.parametrize("permission", [IsInstanceOwner, HasInstanceFeature("suspended")])
def test_classes_cannot_be_negated(permission: Any) -> None:
    """Our permission classes cannot be negated: it would let strangers in."""
    with pytest.raises(TypeError, match="enabled=False"):
        operator.invert(permission)


def test_feature_that_has_to_be_off(service: DictConfigService) -> None:
    """A permission for a feature that must be off keeps strangers out as well."""
    not_gamma, not_beta = (HasInstanceFeature(name, enabled=False) for name in ("gamma", "beta"))

    assert allows(not_gamma, OLGA)
    assert not allows(not_beta, OLGA)
    assert not allows(not_gamma, SAM)
    assert (not_beta.message, not_beta.code) == (
        "This instance has the feature 'beta'.",
        "feature_present",
    )


@pytest.mark.parametrize(
    ("permission", "user", "code", "message"),
    [
        (IsInstanceAdmin, OLGA, "access_denied", "You may not use this instance."),
        (IsInstanceOwner, SAM, "access_denied", "You may not use this instance."),
        (NO_FEATURE, SAM, "access_denied", "You may not use this instance."),
        (NO_FEATURE, OLGA, "feature_missing", "This instance does not have the feature 'x'."),
    ],
)
def test_refusal_has_message_and_code(
    service: DictConfigService, permission: Any, user: Any, code: str, message: str
) -> None:
    """A refusal has the permission's message and code, and tells strangers nothing more."""
    view = APIView(permission_classes=[permission])
    with pytest.raises(PermissionDenied) as caught:
        view.check_permissions(asked(user))

    assert str(caught.value.detail) == message
    assert caught.value.get_codes() == code


@pytest.mark.parametrize(
    ("path", "status", "challenge"), [("api", 401, "Token"), ("session_first", 403, None)]
)
@pytest.mark.parametrize("handler", [{}, HANDLER], ids=["default", "ours"])
def test_anonymous_is_asked_to_log_in(
    *,
    users: dict[str, User],
    settings: Any,
    path: str,
    status: int,
    challenge: str | None,
    handler: Any,
) -> None:
    """A permission returns False for anonymous users, so DRF can answer 401."""
    settings.REST_FRAMEWORK = handler
    response = Caller(is_async=False)(path, "acme")

    assert response.status_code == status
    assert response.headers.get("WWW-Authenticate") == challenge
    assert response.data["detail"].code == "not_authenticated"
    assert response.headers["Cache-Control"] == NO_STORE


def test_wrong_token_stays_a_401(users: dict[str, User], settings: Any) -> None:
    """A wrong token gets DRF's 401."""
    settings.REST_FRAMEWORK = HANDLER
    response = Caller(is_async=False)("api", "acme", authorization="Token nobody")

    assert response.status_code == 401
    assert response.data["detail"].code == "authentication_failed"


# -- has_object_permission -----------------------------------------------------------------------


class Row(SimpleNamespace):
    """An object of the project's."""


@pytest.mark.parametrize(
    ("obj", "allowed"),
    [
        (Row(instance_id="acme"), "olga"),
        (Row(instance_id="acme", owner="sam"), "olga"),
        (Row(instance_id="other", owner="olga"), ""),
        (Row(instance_id=""), ""),
        (Row(instance_id=None, owner="olga"), "olga"),
        (Row(owner="olga"), "olga"),
        (Row(owner=Somebody("olga")), "olga"),
        (Row(owner="sam"), ""),
        (Row(owner=" "), ""),
        (Row(owner=User(pk=None)), ""),
        (Row(owner=None), ""),
        (Row(), ""),
    ],
    ids=repr,
)
def test_owner_has_objects_of_the_instance_and_his_own(
    service: DictConfigService, obj: Row, allowed: str
) -> None:
    """An owner has objects by ``instance_id``, else by ``owner``; without either it is refused."""
    assert allows(IsInstanceOwner, OLGA, obj) is (allowed == "olga")
    assert not allows(IsInstanceOwner, SAM, obj)


def test_object_of_an_unsaved_owner_is_nobodys(service: DictConfigService) -> None:
    """An object of an unsaved owner belongs to no user, not even to one called "None"."""
    service.instances["acme"] = owned_by(Somebody("None"))

    assert not allows(IsInstanceOwner, Somebody("None"), Row(owner=User(pk=None)))


@pytest.mark.parametrize("permission", [IsInstanceAdmin, IsInstanceOwnerOrAdmin])
def test_admin_has_objects_of_the_instance_and_owned_ones(
    service: DictConfigService, permission: Any
) -> None:
    """An admin has objects of this instance and owned ones, but none of another instance."""
    assert allows(permission, ADA, Row(instance_id="acme"))
    assert allows(permission, ADA, Row(owner="sam"))
    assert not allows(permission, ADA, Row(instance_id="other"))
    assert not allows(permission, ADA, Row())


def test_feature_has_objects_of_the_instance_and_own_ones(service: DictConfigService) -> None:
    """The feature permission allows objects of the instance and the user's own objects."""
    beta = HasInstanceFeature("beta")

    assert allows(beta, OLGA, Row(instance_id="acme"))
    assert allows(beta, OLGA, Row(owner="olga"))
    assert not allows(beta, OLGA, Row(owner="sam"))
    assert not allows(HasInstanceFeature("gamma"), OLGA, Row(instance_id="acme"))


@pytest.mark.parametrize("user", [SAM, AnonymousUser()])
def test_object_refusal_is_returned(service: DictConfigService, user: Any) -> None:
    """A refused object is a False, since an exception would turn a 401 into a 403."""
    assert not allows(IsInstanceOwner, user, Row(instance_id="acme"))


def test_object_of_another_instance_is_concealed(service: DictConfigService, settings: Any) -> None:
    """With ``CONCEAL_DENIED`` an object of another instance is a 404."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONCEAL_DENIED": True}

    with pytest.raises(Http404):
        allows(IsInstanceOwner, OLGA, Row(instance_id="other"))
    assert allows(IsInstanceOwner, OLGA, Row(instance_id="acme"))


def test_concealed_row_reads_as_a_missing_one(
    db: None, service: DictConfigService, settings: Any
) -> None:
    """A concealed object has the message of ``get_object_or_404``, with the model's name."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONCEAL_DENIED": True}
    with pytest.raises(Http404) as missing:
        get_object_or_404(User, pk=7)
    with pytest.raises(Http404) as concealed:
        allows(IsInstanceOwner, OLGA, User(pk=7))

    assert concealed.value.args == missing.value.args


def test_forms_of_the_browsable_api_get_a_plain_no(
    service: DictConfigService, settings: Any
) -> None:
    """A form of the browsable API gets False, never an exception."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONCEAL_DENIED": True}
    view = APIView()
    view.response = Response()

    assert not IsInstanceOwner().has_permission(asked(OLGA, "gone"), view)
    assert not IsInstanceOwner().has_object_permission(asked(SAM), view, Row(instance_id="acme"))


@pytest.mark.parametrize("path", ["api", "owners_api", "admins_api"])
def test_blocked_instance_is_refused_to_all(users: dict[str, User], path: str) -> None:
    """Owner and superuser are refused alike while the instance is blocked."""
    get_resolver().block_instance("acme", 3600)
    for user in users.values():
        assert Caller(is_async=False).login(user)(path, "acme").status_code == 403
