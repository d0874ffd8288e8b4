from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import SyncToAsync, async_to_sync, iscoroutinefunction
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from instance_lookup.middleware import InstanceConfigMiddleware
from tests.support.doors import CALLERS, Caller, lookups, owned_by, serve, vary

if TYPE_CHECKING:
    from instance_lookup.backends.memory import DictConfigService

HEADERS = {"X-Instance-ID", "X-Project-ID"}
ONLY_OURS = ["instance_lookup.middleware.InstanceConfigMiddleware"]


@pytest.fixture
def service(settings: Any) -> DictConfigService:
    return serve(settings)


@pytest.fixture
def olga(db: None, service: DictConfigService) -> User:
    olga = User.objects.create_user("olga")
    service.instances["acme"] = owned_by(olga)
    return olga


def test_middleware_is_of_the_kind_of_what_it_wraps() -> None:
    """The middleware is sync or async like the view that it wraps, so Django adapts nothing."""

    def get_response(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    async def aget_response(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    assert not iscoroutinefunction(InstanceConfigMiddleware(get_response))
    assert iscoroutinefunction(InstanceConfigMiddleware(aget_response))


@pytest.mark.parametrize("is_async", CALLERS)
def test_middleware_says_that_the_app_is_not_installed(
    settings: Any, olga: User, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    """Without the app installed the middleware logs one warning at start, and views work."""
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "instance_lookup"]
    caller = Caller(is_async=is_async).login(olga)
    path = "aplain" if is_async else "plain"
    statuses = [caller(path, "acme").status_code for _ in range(2)]
    assert statuses == [200, 200]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "'instance_lookup' is not in INSTALLED_APPS" in record.getMessage()


@pytest.mark.parametrize("entry", ["instance_lookup", "instance_lookup.apps.InstanceLookupConfig"])
def test_middleware_of_an_installed_app_is_silent(
    settings: Any, caplog: pytest.LogCaptureFixture, entry: str
) -> None:
    """With the app installed, under either name, the middleware logs nothing."""
    others = [app for app in settings.INSTALLED_APPS if app != "instance_lookup"]
    settings.INSTALLED_APPS = [*others, entry]
    InstanceConfigMiddleware(lambda request: HttpResponse())
    assert caplog.records == []


@pytest.mark.parametrize("path", ["untouched", "auntouched"])
@pytest.mark.parametrize("is_async", CALLERS)
def test_request_that_needs_no_instance_does_no_io(
    olga: User,
    service: DictConfigService,
    path: str,
    is_async: bool,
    django_assert_num_queries: Any,
) -> None:
    """A view that needs no instance reads no session, does no I/O, and gets no headers."""
    caller = Caller(is_async=is_async).login(olga)

    with django_assert_num_queries(0):
        response = caller(path, "acme")

    assert response.content == b"untouched"
    assert service.calls == []
    assert lookups() == 0
    assert vary(response) == set()
    assert "Cache-Control" not in response.headers


def test_middleware_costs_no_change_of_threads(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under ASGI the middleware runs on the event loop, without a change of threads."""
    hops: list[object] = []
    original = SyncToAsync.__call__

    async def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        hops.append(self.func)
        return await original(self, *args, **kwargs)

    monkeypatch.setattr(SyncToAsync, "__call__", counted)

    def hops_with(middleware: list[str]) -> int:
        settings.MIDDLEWARE = middleware
        hops.clear()
        assert Caller(is_async=True)("auntouched").status_code == 200
        return len(hops)

    assert hops_with(ONLY_OURS) == hops_with([])
    assert hops_with(["django.contrib.sessions.middleware.SessionMiddleware"]) > hops_with([])


@pytest.mark.parametrize("path", ["plain", "aplain", "required", "arequired", "mixed", "amixed"])
@pytest.mark.parametrize("is_async", CALLERS)
def test_view_gets_its_instance(olga: User, path: str, is_async: bool) -> None:
    """Sync and async views, under WSGI and ASGI."""
    assert Caller(is_async=is_async).login(olga)(path, "acme").content == b"acme"


@pytest.mark.parametrize("path", ["plain", "aplain", "required"])
@pytest.mark.parametrize("is_async", CALLERS)
def test_looked_up_header_is_in_vary(olga: User, path: str, is_async: bool) -> None:
    """A shared HTTP cache must never hand one tenant's page to another."""
    caller = Caller(is_async=is_async).login(olga)

    assert vary(caller(path, "acme")) >= HEADERS


def test_absent_header_is_in_vary(
    olga: User, service: DictConfigService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``Vary`` names the header also when it was absent: other values give other pages."""
    monkeypatch.setattr(User, "default_instance_id", "acme", raising=False)

    response = Caller(is_async=False).login(olga)("plain")

    assert response.content == b"acme"
    assert vary(response) >= HEADERS


@pytest.mark.parametrize("instance", [None, "a,b", "gone"])
def test_error_has_vary(olga: User, instance: str | None) -> None:
    """An error response has ``Vary``."""
    response = Caller(is_async=False).login(olga)("plain", instance)

    assert response.status_code >= 400
    assert vary(response) >= HEADERS


def test_vary_of_the_view_is_kept(olga: User) -> None:
    """Ours is added to what the view set."""
    response = Caller(is_async=False).login(olga)("varies", "acme")

    assert vary(response) >= HEADERS | {"Accept-Language"}


def test_vary_names_the_headers_of_the_settings(olga: User, settings: Any) -> None:
    """A header of the project's own name decides under that name."""
    serve(settings, INSTANCE_HEADER="X-Tenant").instances["acme"] = owned_by(olga)

    response = Caller(is_async=False).login(olga)("plain", x_tenant="acme")

    assert response.content == b"acme"
    assert vary(response) >= {"X-Tenant", "X-Project-ID"}


@pytest.mark.parametrize("path", ["cached", "acached", "cached_within", "cached_around"])
@pytest.mark.parametrize("is_async", CALLERS)
def test_page_of_a_tenant_is_kept_out_of_djangos_page_cache(
    olga: User, service: DictConfigService, path: str, is_async: bool
) -> None:
    """``cache_page`` stores before ``Vary`` is set, and answers without asking who may see it."""
    sam = User.objects.create_user("sam")
    service.instances["sams"] = owned_by(sam)
    assert Caller(is_async=is_async).login(olga)(path, "acme").content == b"acme"

    caller = Caller(is_async=is_async).login(sam)

    assert caller(path, "sams").content == b"sams"
    assert caller(path, "acme").status_code == 403


def test_page_without_a_tenant_is_cached_as_ever(olga: User) -> None:
    """The middleware alone keeps no page out."""
    caller = Caller(is_async=False)
    caller("cached_untouched")

    assert "Age" in caller("cached_untouched").headers


@pytest.mark.parametrize("is_async", CALLERS)
def test_streaming_response_is_finished_too(olga: User, is_async: bool) -> None:
    """Headers only: the stream is left alone."""
    caller = Caller(is_async=is_async).login(olga)
    # Under ASGI Django itself warns of a synchronous iterator.
    with pytest.warns(Warning, match="asynchronous iterator") if is_async else nullcontext():
        response = caller("stream", "acme")
        parts = b"".join(async_to_sync(collect)(response) if is_async else response)

    assert parts == b"acme!"
    assert vary(response) >= HEADERS


async def collect(response: Any) -> list[bytes]:
    return [part async for part in response]


def test_view_that_does_without_is_not_marked_as_failed(olga: User) -> None:
    """A view that handles the error has a page that its caller's browser may store."""
    response = Caller(is_async=False)("ignores", "acme")

    assert response.content == b"denied"
    assert response.headers["Cache-Control"] == "private"


@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize("path", ["plain", "page?source={{ request.instance_config.instance_id }}"])
def test_page_of_a_tenant_is_private(olga: User, path: str, is_async: bool) -> None:
    """A page of a tenant is private: it depends on the user, and ``Vary`` may not say so."""
    response = Caller(is_async=is_async).login(olga)(path, "acme")

    assert response.headers["Cache-Control"] == "private"


def test_page_that_says_it_is_public_stays_so(olga: User) -> None:
    """A view that sets ``public`` itself keeps that: all tenants see the same page."""
    response = Caller(is_async=False).login(olga)("public", "acme")

    assert response.headers["Cache-Control"] == "public, max-age=60"


def test_error_of_another_kind_is_not_answered(olga: User) -> None:
    """The middleware answers errors of the lookup only."""
    assert Caller(is_async=False).login(olga)("broken", "acme").status_code == 500
    request = RequestFactory().get("/")
    middleware = InstanceConfigMiddleware(lambda request: HttpResponse())

    assert middleware.process_exception(request, ZeroDivisionError()) is None


def test_broken_cache_management_is_a_server_error(olga: User) -> None:
    """Management failed, not a lookup: Django's 500 tells the operators."""
    response = Caller(is_async=False).login(olga)("cache_broken")

    assert response.status_code == 500
    assert "problem" not in response.headers["Content-Type"]
