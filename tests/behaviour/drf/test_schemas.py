"""Those who ask what would be permitted: schemas, OPTIONS, and the forms of the browsable API."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from django.contrib.auth.models import User
from django.core.management import call_command
from django.urls import include, path
from drf_spectacular.management.commands.spectacular import Command as Spectacular
from drf_spectacular.views import SpectacularAPIView
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.permissions import SAFE_METHODS, AllowAny, BasePermission
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import clone_request
from rest_framework.response import Response
from rest_framework.schemas import get_schema_view
from rest_framework.schemas.openapi import AutoSchema
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.viewsets import GenericViewSet

from instance_lookup import ConfigServiceUnavailable, InstanceLookupError, get_resolver
from instance_lookup.permissions import HasInstanceFeature, IsInstanceOwnerOrAdmin
from tests.behaviour.drf.views import NameToken
from tests.support.doors import BROWSER, CALLERS, PROBLEM, Caller, Somebody, owned_by, serve

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService

pytestmark = pytest.mark.urls(__name__)

DOWN = ConfigServiceUnavailable("down", retry_after=6.2)


class ReadOnly(BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return request.method in SAFE_METHODS

    def has_object_permission(self, request: Any, view: Any, obj: Any) -> bool:
        return self.has_permission(request, view)


class Job(serializers.Serializer[Any]):
    name = serializers.CharField()


class Open(GenericAPIView[Any]):
    """A view that each schema shows."""

    authentication_classes: Any = (NameToken,)
    permission_classes: Any = (AllowAny,)
    renderer_classes = (JSONRenderer, BrowsableAPIRenderer)
    serializer_class = Job

    def get(self, request: Any, **kwargs: Any) -> Response:
        return Response({"name": "one"})

    def post(self, request: Any, **kwargs: Any) -> Response:
        return Response({"name": "new"})

    def put(self, request: Any, **kwargs: Any) -> Response:
        return Response({"name": "other"})

    def get_object(self) -> Any:
        job: dict[str, str] = {"instance_id": "acme"}
        self.check_object_permissions(self.request, type("Row", (), job)())
        return job


class Ours(Open):
    permission_classes = (IsInstanceOwnerOrAdmin, HasInstanceFeature("beta"))


class ReadByAll(Open):
    permission_classes = (ReadOnly | IsInstanceOwnerOrAdmin,)


class WrittenByOurs(Open):
    """Chooses its permissions by itself."""

    def get_permissions(self) -> Any:
        reads = self.request.method in SAFE_METHODS
        return [AllowAny()] if reads else [IsInstanceOwnerOrAdmin()]


class Jobs(GenericViewSet[Any]):
    authentication_classes = (NameToken,)
    permission_classes: Any = (IsInstanceOwnerOrAdmin,)
    serializer_class = Job

    def list(self, request: Any) -> Response:
        return Response([])


api = [
    path("open/", Open.as_view()),
    path("ours/", Ours.as_view()),
    path("jobs/", Jobs.as_view({"get": "list"})),
    path("projects/<project_id>/jobs/", Ours.as_view()),
]
OPEN, OURS, IN_PROJECT = "/open/", {"/ours/", "/jobs/"}, "/projects/{project_id}/jobs/"


class Schema(SpectacularAPIView):
    authentication_classes = (NameToken,)
    permission_classes = (AllowAny,)


urlpatterns = [
    path("", include(api)),
    path("readbyall", ReadByAll.as_view()),
    path("writtenbyours", WrittenByOurs.as_view()),
    path(
        "drf",
        get_schema_view(
            "API",
            patterns=api,
            authentication_classes=[NameToken],
            permission_classes=[AllowAny],
        ),
    ),
    path("drf_public", get_schema_view("API", patterns=api, public=True)),
    path("spectacular", Schema.as_view(patterns=api, serve_public=False)),
    path("spectacular_public", Schema.as_view(patterns=api, serve_public=True)),
]


@pytest.fixture
def service(settings: Any, db: None) -> DictConfigService:
    service = serve(settings)
    olga = User.objects.create_user("olga")
    User.objects.create_user("sam")
    service.instances["acme"] = owned_by(olga, features={"beta": True})
    return service


@pytest.fixture(params=["drf", "spectacular"])
def schema(request: pytest.FixtureRequest, settings: Any) -> str:
    """The path of a schema that shows what the caller may use."""
    choose(request.param, settings)
    name: str = request.param
    return name


def choose(name: str, settings: Any) -> None:
    inspector: Any = "drf_spectacular.openapi.AutoSchema" if "spectacular" in name else AutoSchema
    settings.REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": inspector}


def paths(response: Any) -> set[str]:
    assert response.status_code == 200, response.text
    return paths_in(response.content)


def paths_in(schema: Any) -> set[str]:
    return set(yaml.safe_load(schema)["paths"])


CALLS = [
    pytest.param(None, None, id="anonymous"),
    pytest.param(None, "acme", id="anonymous with an instance"),
    pytest.param("sam", "acme", id="403"),
    pytest.param("olga", None, id="400"),
    pytest.param("olga", "a,b", id="400 malformed"),
    pytest.param("olga", "gone", id="404"),
    pytest.param("olga", "down", id="503"),
]


UNIQUE = pytest.mark.filterwarnings("ignore:You have a duplicated operationId")
"""All of these views have jobs."""


def token(user: str | None) -> dict[str, str]:
    return {"authorization": f"Token {user}"} if user else {}


@pytest.mark.parametrize(("user", "instance"), CALLS)
@pytest.mark.parametrize("is_async", CALLERS)
def test_schema_leaves_out_what_cannot_be_decided(
    *,
    service: DictConfigService,
    schema: str,
    user: str | None,
    instance: str | None,
    is_async: bool,
) -> None:
    """A schema leaves out views that cannot be decided, and shows all others."""
    service.failure = DOWN if instance == "down" else None

    assert paths(Caller(is_async=is_async)(schema, instance, **token(user))) == {OPEN}


@UNIQUE
def test_schema_has_what_the_owner_may_use(service: DictConfigService, schema: str) -> None:
    """The lookup is that of the schema's own request. A placeholder is no project."""
    in_project = {IN_PROJECT} if schema == "drf" else set()
    found = paths(Caller(is_async=False)(schema, "acme", **token("olga")))

    assert found == {OPEN, *OURS, *in_project}


@UNIQUE
@pytest.mark.parametrize("instance", [None, "gone", "down"])
@pytest.mark.parametrize("name", ["drf_public", "spectacular_public"])
def test_public_schema_has_everything(
    service: DictConfigService, settings: Any, name: str, instance: str | None
) -> None:
    """A public schema shows all views and looks nothing up."""
    choose(name, settings)
    service.failure = DOWN if instance == "down" else None

    assert paths(Caller(is_async=False)(name, instance)) == {OPEN, *OURS, IN_PROJECT}


def test_schema_command_has_everything(service: DictConfigService, settings: Any) -> None:
    """``manage.py spectacular`` has no request at all."""
    choose("spectacular", settings)
    service.failure = DOWN
    out = io.StringIO()
    call_command(Spectacular(stdout=out), urlconf=SimpleNamespace(urlpatterns=api))

    assert paths_in(out.getvalue()) == {OPEN, *OURS, IN_PROJECT}


# -- OPTIONS, and the forms of the browsable API -------------------------------------------------


@pytest.mark.parametrize(("user", "instance"), CALLS)
@pytest.mark.parametrize("name", ["readbyall", "writtenbyours"])
@pytest.mark.parametrize("is_async", CALLERS)
def test_options_leaves_out_actions_that_cannot_be_decided(
    *,
    service: DictConfigService,
    name: str,
    user: str | None,
    instance: str | None,
    is_async: bool,
) -> None:
    """OPTIONS works for each user, and shows actions only to users who may use them."""
    service.failure = DOWN if instance == "down" else None
    response = Caller(is_async=is_async)(name, instance, method="options", **token(user))

    assert response.status_code == 200
    assert response.json()["name"]
    assert "actions" not in response.json()


@pytest.mark.parametrize("name", ["readbyall", "writtenbyours"])
def test_options_tells_the_owner_what_actions_take(service: DictConfigService, name: str) -> None:
    """OPTIONS with the instance named shows its owner the actions."""
    response = Caller(is_async=False)(name, "acme", method="options", **token("olga"))

    assert set(response.json()["actions"]) == {"POST", "PUT"}


@pytest.mark.parametrize(("instance", "status"), [(None, 400), ("gone", 404), ("down", 503)])
@pytest.mark.parametrize("method", ["get", "options", "put"])
def test_request_itself_gets_its_error(
    service: DictConfigService, instance: str | None, status: int, method: str
) -> None:
    """An OPTIONS request for an instance that cannot be looked up failed like any other."""
    service.failure = DOWN if instance == "down" else None
    response = Caller(is_async=False)("ours/", instance, method=method, **token("olga"))

    assert response.status_code == status
    assert (response.headers["Content-Type"] == PROBLEM) is (status != 404)


@pytest.mark.parametrize(("user", "instance"), [*CALLS, pytest.param("olga", "acme", id="200")])
@pytest.mark.parametrize("name", ["readbyall", "writtenbyours"])
@pytest.mark.parametrize("method", ["get", "options"])
def test_browsable_page_has_forms_for_those_who_may_use_them(
    *,
    service: DictConfigService,
    name: str,
    user: str | None,
    instance: str | None,
    method: str,
) -> None:
    """A form that cannot be decided is left out; the page is there."""
    service.failure = DOWN if instance == "down" else None
    response = Caller(is_async=False)(name, instance, method=method, accept=BROWSER, **token(user))

    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert ("post-object-form" in response.text) is ((user, instance) == ("olga", "acme"))


# -- other callers that ask so -------------------------------------------------------------------


@pytest.mark.parametrize("marked", ["clone", "swagger_fake_view"])
@pytest.mark.parametrize("instance", [None, "gone", "down"])
def test_tools_get_a_plain_no(
    service: DictConfigService, settings: Any, marked: str, instance: str | None
) -> None:
    """A clone of the request, or a view that is marked, is about what would be permitted."""
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "CONCEAL_DENIED": True}
    service.failure = DOWN if instance == "down" else None
    headers = {} if instance is None else {"X-Instance-ID": instance}
    plain = APIRequestFactory().get("/", headers=headers)
    force_authenticate(plain, Somebody("olga"))
    view: Any = Ours()
    request = view.initialize_request(plain)
    permission = IsInstanceOwnerOrAdmin()
    with pytest.raises(InstanceLookupError):
        permission.has_permission(request, view)
    if marked == "clone":
        request = clone_request(request, "GET")
    else:
        view.swagger_fake_view = True

    assert not permission.has_permission(request, view)
    assert not permission.has_object_permission(request, view, object())


@UNIQUE
def test_schema_asks_the_service_once(service: DictConfigService, settings: Any) -> None:
    """All views of DRF's schema are asked about with one request, so with one lookup."""
    choose("drf", settings)
    Caller(is_async=False)("drf", "acme", **token("olga"))

    assert get_resolver().get_cache_stats().misses == 1
