"""DRF authenticates inside the view, when a lookup for another user may have been made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication
from rest_framework_simplejwt.tokens import AccessToken

from instance_lookup.request.attributes import _InstanceAttributes
from instance_lookup.request.drf import _ATTRIBUTES
from tests.behaviour.drf import views
from tests.support.doors import CALLERS, Caller, Somebody, lookups, owned_by, serve

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from instance_lookup import LookupUser
    from instance_lookup.backends.memory import DictConfigService

pytestmark = pytest.mark.urls("tests.behaviour.drf.urls")


@pytest.fixture
def touched(settings: Any) -> None:
    """Have a middleware use the instance before DRF authenticates."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.behaviour.drf.views.touches_early"]


@pytest.fixture
def jwt(service: DictConfigService, monkeypatch: pytest.MonkeyPatch) -> Caller:
    """Authenticate by JWT: a ``TokenUser`` who is in no database."""
    classes = [JWTStatelessUserAuthentication]
    for view in (views.Api, views.Admins):
        monkeypatch.setattr(view, "authentication_classes", classes)
    service.instances["acme"] = owned_by(Somebody("olga"))
    return Caller(is_async=False)


def bearer(user_id: str, **claims: Any) -> str:
    token = AccessToken()
    for name, value in {"user_id": user_id, **claims}.items():
        token[name] = value
    return f"Bearer {token}"


@pytest.mark.usefixtures("touched")
@pytest.mark.parametrize(
    ("session", "token", "early", "status"),
    [
        ("olga", "sam", "acme", 403),
        ("sam", "olga", "denied", 200),
        (None, "olga", "denied", 200),
        ("olga", None, "acme", 200),
        (None, None, "denied", 401),
    ],
)
@pytest.mark.parametrize("path", ["api", "open"])
@pytest.mark.parametrize("is_async", CALLERS)
def test_session_and_token_user_never_get_each_others_config(
    *,
    users: dict[str, User],
    path: str,
    is_async: bool,
    session: str | None,
    token: str | None,
    early: str,
    status: int,
) -> None:
    """Within one request each user gets only the answer of their own lookup."""
    caller = Caller(is_async=is_async)
    if session:
        caller.login(users[session])
    headers = {"authorization": f"Token {token}"} if token else {}

    response = caller(path, "acme", **headers)

    assert response.headers["X-Early"] == early
    # Without a permission class anonymous users are not asked to log in.
    assert response.status_code == (403 if (status, path) == (401, "open") else status)


@pytest.mark.usefixtures("touched")
@pytest.mark.parametrize("is_async", CALLERS)
def test_session_user_of_drf_is_the_same_user(users: dict[str, User], is_async: bool) -> None:
    """Where DRF finds the same session user there is no second lookup."""
    response = Caller(is_async=is_async).login(users["olga"])("session_first", "acme")

    assert response.status_code == 200
    assert lookups() == 1


@pytest.mark.parametrize("path", ["api", "open"])
def test_attribute_error_is_not_taken_for_a_missing_attribute(
    users: dict[str, User], settings: Any, path: str
) -> None:
    """An AttributeError in a lookup is not taken for a missing attribute of DRF's request."""
    calls: list[object] = []

    def user_context(user: Any, request: Any = None) -> LookupUser:
        calls.append(user)
        raise AttributeError("no such thing")

    serve(settings, USER_CONTEXT=user_context)
    caller = Caller(is_async=False)
    caller.client.raise_request_exception = True
    with pytest.raises(RuntimeError, match="no such thing"):
        caller(path, "acme", authorization="Token olga")

    assert len(calls) == 1


@pytest.mark.parametrize(("user_id", "status"), [("olga", 200), ("sam", 403)])
def test_jwt_names_the_owner(jwt: Caller, user_id: str, status: int) -> None:
    """A ``TokenUser`` has an id, and neither a table nor a profile."""
    assert jwt("api", "acme", authorization=bearer(user_id)).status_code == status


@pytest.mark.parametrize("claim", [True, "true", 1, {"a": 1}])
def test_jwt_admin_is_who_the_token_says_outright(jwt: Caller, claim: object) -> None:
    """A JWT makes an admin only if the claim is exactly True."""
    response = jwt("admins_api", "acme", authorization=bearer("ada", is_superuser=claim))

    assert response.status_code == (200 if claim is True else 403)


def test_jwt_answers_any_attribute_but_not_for_us(jwt: Caller) -> None:
    """``TokenUser`` returns a claim, or ``None``, for each attribute: none of them is used."""
    claims = {"profile": {"default_instance_id": "acme"}, "tenant_ids": "acme", "groups": ["admin"]}
    response = jwt("api", None, authorization=bearer("olga", **claims))

    assert response.status_code == 400


def test_jwt_may_name_the_default_instance(jwt: Caller) -> None:
    """A JWT may name the default instance, since the site signed it."""
    response = jwt("api", None, authorization=bearer("olga", default_instance_id="acme"))

    assert response.status_code == 200


def test_jwt_that_is_none_is_challenged(jwt: Caller) -> None:
    """A wrong JWT gets 401 with the realm."""
    response = jwt("api", "acme", authorization="Bearer nonsense")

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_page_of_a_tenant_is_kept_out_of_djangos_page_cache(
    users: dict[str, User], service: DictConfigService
) -> None:
    """``cache_page`` on a DRF method does not store a tenant's page."""
    service.instances["sams"] = owned_by(users["sam"])
    first = Caller(is_async=False).login(users["olga"])("cached_api", "acme")
    second = Caller(is_async=False).login(users["sam"])("cached_api", "sams")

    assert first.json() == {"instance": "acme"}
    assert second.json() == {"instance": "sams"}


def test_drfs_request_has_each_attribute_that_a_request_gets() -> None:
    """DRF's request has each of our attributes: a missing one would use the wrong user."""
    names = {name for name in vars(_InstanceAttributes) if not name.startswith("_")}
    assert set(_ATTRIBUTES) == names
