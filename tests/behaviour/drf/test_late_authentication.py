"""DRF may authenticate as late as it likes: the session's user never decides in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.urls import path
from django.utils.decorators import method_decorator
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.decorators import api_view, authentication_classes
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from instance_lookup import AccessDenied, LookupContext, resolve_instance
from instance_lookup.access import IsAdmin, IsOwner
from instance_lookup.decorators import InstanceRequiredMixin, instance_required
from instance_lookup.permissions import IsInstanceOwner, exception_handler
from instance_lookup.request.attributes import attach, lookup_for
from tests.behaviour.drf.views import NameToken
from tests.support.doors import CALLERS, PROBLEM, Caller, Somebody, owned_by
from tests.support.lookups import SECRET

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from instance_lookup.backends.memory import DictConfigService

pytestmark = pytest.mark.urls(__name__)


def told(config: Any) -> Response:
    """Respond with a key that only the owner may see."""
    return Response({"key": config.api_keys["ideogram"]})


class Late(APIView):
    """A view that takes tokens only, and authenticates when the user is first read."""

    authentication_classes: Any = (NameToken,)
    permission_classes: Any = ()

    def perform_authentication(self, request: Any) -> None:
        """Do nothing, as DRF's documentation suggests."""

    def get(self, request: Any) -> Response:
        return told(request.instance_config)


class Result(Late):
    def get(self, request: Any) -> Response:
        return told(request.instance_lookup.config)


class ByFunction(Late):
    def get(self, request: Any) -> Response:
        return told(lookup_for(request).get().config)


class ByContext(Late):
    def get(self, request: Any) -> Response:
        return told(resolve_instance(LookupContext.from_request(request)))


class Permitted(Late):
    permission_classes = (IsInstanceOwner,)

    def get(self, request: Any) -> Response:
        return told(request._request.instance_config)  # DRF has put its user there by now


class Method(Late):
    @method_decorator(instance_required)
    def get(self, request: Any) -> Response:
        return super().get(request)


@method_decorator(instance_required(policy=IsOwner()), name="dispatch")
class Dispatch(Late):
    pass


class Mixed(InstanceRequiredMixin, Late):
    pass


@method_decorator([instance_required, instance_required], name="dispatch")
class Twice(Late):
    pass


class AsksInstance(BaseThrottle):
    def allow_request(self, request: Any, view: Any) -> bool:
        return bool(request.instance_config.instance_id)


class Throttled(Late):
    throttle_classes = (AsksInstance,)


class Key(serializers.Serializer[Any]):
    key = serializers.SerializerMethodField()

    def get_key(self, obj: object) -> str:
        key: str = self.context["request"].instance_config.api_keys["ideogram"]
        return key


class Serialized(Late):
    def get(self, request: Any) -> Response:
        return Response(Key(object(), context={"request": request}).data)


class Initial(Late):
    """Looks before anything else."""

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        self.config = request.instance_config
        super().initial(request, *args, **kwargs)

    def get(self, request: Any) -> Response:
        return told(self.config)


class Page(Late):
    renderer_classes = (TemplateHTMLRenderer,)

    def get(self, request: Any) -> Response:
        return Response({}, template_name="instance.html")


class RefusedPage(Page):
    permission_classes = (IsInstanceOwner,)


class Methods(ViewSet, Late):
    def list(self, request: Any) -> Response:
        return told(request.instance_config)


@api_view(["GET"])
@authentication_classes([NameToken])
def function(request: Any) -> Response:
    return told(request.instance_config)


@api_view(["GET"])
@authentication_classes([NameToken])
@instance_required
def required_function(request: Any) -> Response:
    return told(request.instance_config)


for _function in (function, required_function):
    _view: Any = _function.cls
    _view.perform_authentication = Late.perform_authentication


def nested(request: Any) -> Any:
    """A plain view that lets one of DRF's answer."""
    return Late.as_view()(request)


class SessionInside(Late):
    authentication_classes = (SessionAuthentication,)


class NestedInDRF(Late):
    """A view that looks the instance up, then calls a view that takes the session's user."""

    def get(self, request: Any) -> Response:
        assert request.user is request._request.user
        SessionInside.as_view()(request._request)
        return told(request.instance_config)


class NameOrSession(Late):
    authentication_classes = (NameToken, SessionAuthentication)


VIEWS: dict[str, Any] = {
    "late": Late.as_view(),
    "result": Result.as_view(),
    "by_function": ByFunction.as_view(),
    "by_context": ByContext.as_view(),
    "permitted": Permitted.as_view(),
    "method": Method.as_view(),
    "dispatch": Dispatch.as_view(),
    "mixed": Mixed.as_view(),
    "twice": Twice.as_view(),
    "throttled": Throttled.as_view(),
    "serialized": Serialized.as_view(),
    "initial": Initial.as_view(),
    "viewset": Methods.as_view({"get": "list"}),
    "function": function,
    "required_function": required_function,
    "nested": nested,
    "nested_in_drf": NestedInDRF.as_view(),
}
CHALLENGED = {"permitted", "dispatch", "mixed", "twice"}
"""Where those who may still log in are asked to: by DRF, which is told that this is a refusal."""

urlpatterns = [
    *(path(name, view) for name, view in VIEWS.items()),
    path("page", Page.as_view()),
    path("refused_page", RefusedPage.as_view()),
    path("name_or_session", NameOrSession.as_view()),
]


@pytest.fixture(params=["untouched", "touched"])
def touched(request: pytest.FixtureRequest, settings: Any) -> None:
    """Have a middleware use the instance as the session's user before the view, or not."""
    if request.param == "touched":
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.behaviour.drf.views.touches_early"]


def token(name: str | None) -> dict[str, str]:
    return {"authorization": f"Token {name}"} if name else {}


@pytest.mark.usefixtures("touched")
@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize(
    ("session", "bearer", "status"),
    [("olga", "sam", 403), ("olga", None, 403), ("sam", "olga", 200), (None, "olga", 200)],
)
@pytest.mark.parametrize("is_async", CALLERS)
def test_token_decides_whoever_is_logged_in(
    *,
    users: dict[str, User],
    name: str,
    session: str | None,
    bearer: str | None,
    status: int,
    is_async: bool,
) -> None:
    """Without a token a caller is anonymous to a token view, though logged in by session."""
    caller = Caller(is_async=is_async)
    if session:
        caller.login(users[session])
    response = caller(name, "acme", **token(bearer))

    assert response.status_code == (401 if bearer is None and name in CHALLENGED else status)
    assert (SECRET in response.text) is (status == 200)
    assert response.headers.get("WWW-Authenticate") == (
        "Token" if response.status_code == 401 else None
    )


@pytest.mark.parametrize("bearer", ["sam", None])
def test_page_that_drf_makes_of_a_refusal_is_empty(
    users: dict[str, User], settings: Any, tmp_path: Any, bearer: str | None
) -> None:
    """DRF's page for a refusal shows no tenant in its base template, and causes no other error."""
    for status in (401, 403):
        (tmp_path / f"{status}.html").write_text("in [{{ instance.instance_id }}]")
    options = settings.TEMPLATES[0]["OPTIONS"]
    processors = [*options["context_processors"], "instance_lookup.context_processors.instance"]
    changed = {"DIRS": [tmp_path], "OPTIONS": {**options, "context_processors": processors}}
    settings.TEMPLATES = [{**settings.TEMPLATES[0], **changed}]
    caller = Caller(is_async=False).login(users["olga"])
    response = caller("refused_page", "acme", **token(bearer))

    assert response.status_code == (403 if bearer else 401)
    assert response.text == "in []"


@pytest.mark.parametrize(("session", "bearer"), [("olga", "sam"), ("olga", None), ("sam", "olga")])
def test_token_decides_in_templates(
    users: dict[str, User], settings: Any, tmp_path: Any, session: str, bearer: str | None
) -> None:
    """Templates that DRF renders see the instance of DRF's user."""
    (tmp_path / "instance.html").write_text("in {{ instance.instance_id }}")
    options = settings.TEMPLATES[0]["OPTIONS"]
    processors = [*options["context_processors"], "instance_lookup.context_processors.instance"]
    changed = {"DIRS": [tmp_path], "OPTIONS": {**options, "context_processors": processors}}
    settings.TEMPLATES = [{**settings.TEMPLATES[0], **changed}]
    caller = Caller(is_async=False).login(users[session])
    response = caller("page", "acme", **token(bearer))

    assert ("in acme" in response.text) is (bearer == "olga")


@pytest.mark.parametrize(
    ("session", "bearer", "status"),
    [("olga", None, 200), ("sam", None, 403), ("olga", "sam", 403), ("sam", "olga", 200)],
)
def test_session_decides_where_drf_takes_it(
    users: dict[str, User], session: str, bearer: str | None, status: int
) -> None:
    """DRF's first authentication class that knows a user decides, also late."""
    caller = Caller(is_async=False).login(users[session])

    assert caller("name_or_session", "acme", **token(bearer)).status_code == status


@pytest.mark.parametrize("name", [*VIEWS, "name_or_session"])
def test_wrong_token_is_refused_when_it_is_looked_at(users: dict[str, User], name: str) -> None:
    """A wrong token is refused by DRF with 401 when it is read, not treated as missing."""
    caller = Caller(is_async=False).login(users["olga"])

    assert caller(name, "acme", **token("nobody")).status_code == 401


def test_view_sees_whom_the_lookup_was_for(users: dict[str, User]) -> None:
    """``request.user`` in a middleware is the user whose instance was looked up."""
    request = APIRequestFactory().get("/", headers={"X-Instance-ID": "acme", **token("olga")})
    request.user = users["sam"]
    attach(request)
    Late.as_view()(request)

    assert (request.user, request.auth) == (users["olga"], "olga")


@pytest.mark.parametrize("view", [Late, Permitted, Dispatch, Mixed])
def test_drfs_user_decides_without_the_middleware(service: DictConfigService, view: Any) -> None:
    """Something attached the lookup before; or nothing did."""
    service.instances["acme"] = owned_by(Somebody("olga"))
    for session, forced, status in (("olga", "sam", 403), ("sam", "olga", 200)):
        request: Any = APIRequestFactory().get("/", headers={"X-Instance-ID": "acme"})
        request.user = Somebody(session)
        attach(request)
        force_authenticate(request, Somebody(forced))

        assert view.as_view()(request).status_code == status


def drf_request(user: Any = None, *authenticators: Any) -> Any:
    """Return DRF's request around one whose session has a user."""
    request: Any = APIRequestFactory().get("/", headers={"X-Instance-ID": "acme"})
    request.user = user
    return Request(request, authenticators=authenticators)


def test_attribute_is_absent_without_the_middleware() -> None:
    """Without the middleware DRF's request lacks the attribute, and is not authenticated."""
    request = drf_request(None, NameToken())

    with pytest.raises(AttributeError, match="instance_config"):
        request.instance_config  # noqa: B018
    assert "_user" not in vars(request)


def test_attribute_that_a_project_sets_goes_first() -> None:
    """An attribute that a project sets on DRF's request comes before ours."""
    request = drf_request()
    request.instance_config = "mine"

    assert request.instance_config == "mine"
    assert hasattr(Request, "instance_config")


def test_untouched_request_is_not_authenticated() -> None:
    """A request whose instance is not read is not authenticated."""
    request = drf_request(Somebody("olga"), NameToken())
    attach(request._request)

    assert "_user" not in vars(request)


def test_user_that_was_set_is_not_authenticated(service: DictConfigService) -> None:
    """A user that the view has set is used, and DRF does not authenticate again."""
    service.instances["acme"] = owned_by(Somebody("olga"))
    request = drf_request(Somebody("sam"), Refuses())
    request.user = Somebody("olga")

    assert lookup_for(request).get().config.instance_id == "acme"


async def test_twins_are_of_drfs_user(service: DictConfigService) -> None:
    """An async view, of an extension of DRF, awaits them once DRF has authenticated."""
    service.instances["acme"] = owned_by(Somebody("olga"))
    request = drf_request(Somebody("olga"))
    attach(request._request)
    request.user = Somebody("sam")
    request._request.user = Somebody("olga")  # another view's

    with pytest.raises(AccessDenied):
        await request.ainstance_config()
    with pytest.raises(AccessDenied):
        await request.ainstance_lookup()


class ByInstance(BaseAuthentication):
    """Means to check a signature with a key of the instance."""

    def authenticate(self, request: Any) -> None:
        str(request.instance_config.api_keys)


def test_authentication_cannot_ask_whom_it_is_to_find(service: DictConfigService) -> None:
    """An authenticator that needs the instance is told to look up as the service."""
    request = drf_request(Somebody("olga"), ByInstance())
    attach(request._request)

    with pytest.raises(RuntimeError, match=r"LookupUser.service\(\)"):
        request.user  # noqa: B018


class Refuses(BaseAuthentication):
    def authenticate(self, request: Any) -> None:
        raise AuthenticationFailed


def test_exception_handler_authenticates_nobody(service: DictConfigService) -> None:
    """A refusal before any authentication is answered without authenticating."""
    request = drf_request(Somebody("olga"), Refuses())
    response = exception_handler(PermissionDenied("closed"), {"request": request})

    assert response is not None
    assert response.data == {"detail": "closed"}


# -- @instance_required and the mixin around DRF's views -----------------------------------------


def test_decorator_around_a_whole_view_of_drf_is_refused() -> None:
    """The decorator refuses a whole DRF view: it would run before DRF knows the user."""
    for view in (function, Late.as_view(), Late):
        with pytest.raises(TypeError, match="below @api_view"):
            instance_required(view)


@pytest.mark.parametrize("name", ["dispatch", "mixed"])
@pytest.mark.parametrize(("instance", "status"), [(None, 400), ("gone", 404), ("acme", 200)])
def test_dispatch_answers_failed_lookups_without_the_middleware(
    service: DictConfigService, name: str, instance: str | None, status: int
) -> None:
    """Without the middleware a decorated ``dispatch`` answers failed lookups as a view does."""
    service.instances["acme"] = owned_by(Somebody("olga"))
    headers = {} if instance is None else {"X-Instance-ID": instance}
    request = APIRequestFactory().get("/", headers=headers)
    force_authenticate(request, Somebody("olga"))
    response = VIEWS[name](request)

    assert response.status_code == status
    if status == 400:
        assert response.headers["Content-Type"] == PROBLEM


def test_dispatch_asks_the_stricter_policy_about_drfs_user(service: DictConfigService) -> None:
    """A decorated ``dispatch`` asks the stricter policy about DRF's user."""

    class ForAdmins(InstanceRequiredMixin, Late):
        instance_policy = IsAdmin()

    service.instances["acme"] = owned_by(Somebody("olga"))
    for user, status in ((Somebody("ada", is_superuser=True), 200), (Somebody("olga"), 403)):
        request = APIRequestFactory().get("/", headers={"X-Instance-ID": "acme"})
        force_authenticate(request, user)

        assert ForAdmins.as_view()(request).status_code == status
