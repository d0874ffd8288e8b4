from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, cast

import pytest
from asgiref.sync import iscoroutinefunction
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied, SynchronousOnlyOperation
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils.decorators import method_decorator
from django.views import View

from instance_lookup.access import HasFeature, Policy
from instance_lookup.decorators import InstanceRequiredMixin, instance_required
from tests.support import views
from tests.support.doors import (
    BROWSER,
    CALLERS,
    NO_STORE,
    PROBLEM,
    Caller,
    Somebody,
    owned_by,
    serve,
    vary,
)

if TYPE_CHECKING:
    from instance_lookup import InstanceConfig, LookupUser
    from instance_lookup.backends.memory import DictConfigService

OLGA = Somebody("olga")


@pytest.fixture
def service(settings: Any) -> DictConfigService:
    service = serve(settings, ACCESS_POLICY=HasFeature("open"), ADMIN_GROUPS=("staff",))
    service.instances["acme"] = owned_by(OLGA, features={"open": True})
    return service


@pytest.fixture
def bare(service: DictConfigService) -> Any:
    """A request that no middleware saw."""
    request: Any = RequestFactory().get("/", headers={"X-Instance-ID": "acme"})
    request.user = OLGA
    return request


@pytest.fixture
def users(db: None, service: DictConfigService) -> dict[str, User]:
    """An owner, a stranger that ``ACCESS_POLICY`` lets in, and the stranger's groups."""
    users = {name: User.objects.create_user(name) for name in ("olga", "sam", "eve", "ada")}
    users["eve"].groups.add(Group.objects.create(name="editor"))
    users["ada"].groups.add(Group.objects.create(name="staff"))
    service.instances["acme"] = owned_by(users["olga"], features={"open": True})
    return users


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("owners", "olga"),
        ("mixed_owners", "olga"),
        ("amixed_owners", "olga"),
        ("aadmins", "ada"),
        ("aeditors", "eve"),
    ],
)
@pytest.mark.parametrize("is_async", CALLERS)
def test_stricter_policy_lets_in_whom_it_means(
    users: dict[str, User], path: str, name: str, is_async: bool
) -> None:
    """A stricter policy lets in the users it means, also when it needs a query for their roles."""
    caller = Caller(is_async=is_async)

    assert caller.login(users["sam"])("required", "acme").content == b"acme"
    assert caller(path, "acme").status_code == 403
    assert caller.login(users[name])(path, "acme").content == b"acme"


def test_stricter_policy_says_what_it_refused(users: dict[str, User]) -> None:
    """The instance as such is no secret to this user."""
    response = Caller(is_async=False).login(users["sam"])("owners", "acme")

    assert json.loads(response.content)["detail"] == "You may not do this in instance 'acme'."


def test_stricter_policys_refusal_is_not_stored(users: dict[str, User]) -> None:
    """Django's page for a refusal by a stricter policy may not be stored."""
    response = Caller(is_async=False).login(users["sam"])("owners", "acme", accept=BROWSER)

    assert response.status_code == 403
    assert response.headers["Cache-Control"] == NO_STORE


def test_stricter_policy_cannot_widen(users: dict[str, User], settings: Any) -> None:
    """A user refused by ``ACCESS_POLICY`` is refused, even if the stricter policy lets them in."""
    users["olga"].groups.add(Group.objects.get(name="editor"))
    settings.INSTANCE_LOOKUP = {**settings.INSTANCE_LOOKUP, "ACCESS_POLICY": HasFeature("shut")}

    response = Caller(is_async=False).login(users["olga"])("aeditors", "acme")

    assert response.status_code == 403


def test_view_does_not_run_for_a_stranger(bare: Any) -> None:
    """The lookup comes before the view, in both kinds."""
    bare.META["HTTP_X_INSTANCE_ID"] = "gone"
    ran: list[object] = []

    @instance_required
    def view(request: Any) -> HttpResponse:
        ran.append(request)
        return HttpResponse()

    @instance_required
    async def aview(request: Any) -> HttpResponse:
        ran.append(request)
        return HttpResponse()

    assert view(bare).status_code == 404
    assert asyncio.run(aview(bare)).status_code == 404
    assert ran == []


def test_decorated_view_keeps_its_kind_and_name() -> None:
    """Django asks whether it is a coroutine function, and tools for its name."""
    assert not iscoroutinefunction(views.required)
    assert iscoroutinefunction(views.arequired)
    assert iscoroutinefunction(views.aadmins)
    assert views.required.__name__ == "required"


@pytest.mark.parametrize("view", [views.required, views.owners, views.Mixed.as_view()])
def test_decorator_needs_no_middleware(bare: Any, view: Any) -> None:
    """Without the middleware the decorator attaches the lookup and sets the headers."""
    response = view(bare)

    assert response.content == b"acme"
    assert vary(response) == {"X-Instance-ID", "X-Project-ID"}


@pytest.mark.parametrize("view", [views.required, views.Mixed.as_view()])
def test_decorator_answers_errors_without_middleware(bare: Any, view: Any) -> None:
    """Without the middleware the decorator answers errors with problem details."""
    bare.META["HTTP_X_INSTANCE_ID"] = "gone"
    response = view(bare)

    assert response.status_code == 404
    assert response.headers["Content-Type"] == PROBLEM
    assert vary(response) == {"X-Instance-ID", "X-Project-ID"}


def test_decorator_leaves_browsers_to_django(bare: Any) -> None:
    """An error that Django has a page for goes on to it."""
    bare.META |= {"HTTP_ACCEPT": BROWSER, "HTTP_X_INSTANCE_ID": "acme"}
    bare.user = Somebody("sam")

    with pytest.raises(PermissionDenied):
        views.owners(bare)


async def test_sync_view_in_the_loop_is_refused(bare: Any) -> None:
    """A sync view called by an async one would block the loop."""
    with pytest.raises(SynchronousOnlyOperation):
        views.required(bare)


async def test_dispatch_of_an_async_view_is_awaited(bare: Any) -> None:
    """It is a plain function that returns a coroutine, in the mixin and for a decorator."""

    @method_decorator(instance_required, name="dispatch")
    class Decorated(View):
        async def get(self, request: Any) -> HttpResponse:
            return HttpResponse(request.instance_config.instance_id)

    response = await cast("Any", Decorated.as_view()(bare))
    assert response.content == b"acme"
    bare.META["HTTP_X_INSTANCE_ID"] = "gone"
    assert (await cast("Any", Decorated.as_view()(bare))).status_code == 404


async def test_mixin_answers_a_wrong_method_in_an_async_view(bare: Any) -> None:
    """A wrong method in an async view is answered with 405."""
    bare.method = "POST"

    response = await cast("Any", views.AMixed.as_view()(bare))

    assert response.status_code == 405


def test_mixin_comes_before_the_view(bare: Any) -> None:
    """What the project adds to ``dispatch`` runs after the lookup."""
    order: list[str] = []

    class Denies(Policy):
        def allows(self, user: LookupUser, config: InstanceConfig) -> bool:
            order.append("policy")
            return True

    class Base(View):
        def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
            order.append("dispatch")
            return HttpResponse()

    class Mixed(InstanceRequiredMixin, Base):
        instance_policy = Denies()

        def get(self, request: Any) -> HttpResponse:
            raise AssertionError

    Mixed.as_view()(bare)

    assert order == ["policy", "dispatch"]


def test_view_that_answers_nothing_is_reported_by_django(bare: Any) -> None:
    """A view that forgot its response gets Django's explanation, not a traceback of ours."""

    @instance_required
    def view(request: Any) -> None:
        return None

    assert view(bare) is None
