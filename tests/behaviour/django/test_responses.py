from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import django
import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.http.response import ResponseHeaders
from django.test import RequestFactory

from instance_lookup import (
    AccessDenied,
    CacheError,
    ConfigServiceUnavailable,
    InstanceNotFound,
    InvalidContext,
    get_resolver,
)
from instance_lookup.request.problems import error_response
from instance_lookup.request.response import ResponseState
from tests.support.doors import BROWSER, CALLERS, NO_STORE, PROBLEM, Caller, owned_by, serve
from tests.support.lookups import SECRET
from tests.support.monotonic import Monotonic

if TYPE_CHECKING:
    from instance_lookup.backends.base import Document, NotModified, Query
    from instance_lookup.backends.memory import DictConfigService

VIEWS = ["plain", "aplain", "required", "arequired", "mixed", "amixed"]
DOWN = ConfigServiceUnavailable("down", retry_after=6.2)


@pytest.fixture
def service(settings: Any) -> DictConfigService:
    return serve(settings)


@pytest.fixture
def olga(db: None, service: DictConfigService) -> User:
    olga = User.objects.create_user("olga")
    service.instances["acme"] = owned_by(olga)
    return olga


@pytest.fixture
def sam(olga: User) -> User:
    return User.objects.create_user("sam")


def test_answer_to_client_whose_accept_is_too_long(rf: RequestFactory) -> None:
    """Where Django refuses to read what the client takes, it gets the problem details."""
    request = rf.get("/", headers={"accept": f"x/y;a={'b' * 20_000}"})
    response = error_response(request, AccessDenied("no"))
    assert response is not None
    assert (response.status_code, response["Content-Type"]) == (403, PROBLEM)


@pytest.mark.parametrize(
    ("instance", "status", "kind"),
    [
        (None, 400, "invalid-context"),
        ("a,b", 400, "invalid-context"),
        ("acme", 403, "access-denied"),
        ("gone", 404, "instance-not-found"),
        ("down", 503, "config-service-unavailable"),
    ],
)
@pytest.mark.parametrize("path", VIEWS)
@pytest.mark.parametrize("is_async", CALLERS)
def test_failed_lookup_is_answered_with_problem_details(
    *,
    sam: User,
    service: DictConfigService,
    path: str,
    is_async: bool,
    instance: str | None,
    status: int,
    kind: str,
) -> None:
    """RFC 9457, in sync and async views, under WSGI and ASGI."""
    if instance == "down":
        service.failure = DOWN
    response = Caller(is_async=is_async).login(sam)(path, instance, x_request_id="r-1")

    assert response.status_code == status
    assert response.headers["Content-Type"] == PROBLEM
    assert response.headers["Cache-Control"] == NO_STORE
    body = json.loads(response.content)
    assert list(body) == ["type", "title", "status", "detail", "instance_id", "request_id"]
    assert body["type"] == f"urn:instance-lookup:{kind}"
    assert body["status"] == status
    assert body["instance_id"] == (None if status == 400 else instance)
    assert body["request_id"] == "r-1"


@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize("path", VIEWS)
def test_service_and_client_hear_of_one_request(
    sam: User,
    service: DictConfigService,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    *,
    is_async: bool,
) -> None:
    """A request without an id gets one, and the answer and the service see the same."""
    asked: list[str] = []
    answer = service.get_instance

    def note(instance_id: str, query: Query) -> Document | NotModified:
        asked.append(query.request_id)
        return answer(instance_id, query)

    monkeypatch.setattr(service, "get_instance", note)
    response = Caller(is_async=is_async).login(sam)(path, "nobody")
    assert [json.loads(response.content)["request_id"]] == asked


@pytest.mark.parametrize("path", VIEWS)
def test_anonymous_caller_is_denied(olga: User, service: DictConfigService, path: str) -> None:
    """Anonymous callers get 403 without I/O; a plain view knows no log-in."""
    assert Caller(is_async=False)(path, "acme").status_code == 403
    assert service.calls == []


def test_unavailable_says_when_to_ask_again(olga: User, service: DictConfigService) -> None:
    """``Retry-After`` is in whole seconds, rounded up."""
    service.failure = DOWN
    response = Caller(is_async=False).login(olga)("plain", "acme")

    assert response.headers["Retry-After"] == "7"


def test_unavailable_for_no_known_time_says_nothing() -> None:
    """Without a known time to wait there is no ``Retry-After``."""
    response = error_response(RequestFactory().get("/"), ConfigServiceUnavailable("down"))

    assert response is not None
    assert "Retry-After" not in response.headers


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("text/html;q=0.1", True),
        ("text/html, */*", True),
        ("text/html;q=0.9, application/json;q=0.8", True),
        ("*/*", False),
        (None, False),
        ("", False),
        ("application/json", False),
        ("application/json, text/html", False),
        ("text/html;q=0.1, application/json", False),
        ("text/html;q=0, */*", False),
        ("text/html;q=0.1, */*", False),
        ("application/problem+json", False),
        ("image/png", False),
        ("nonsense", False),
    ],
)
def test_html_only_for_who_prefers_it(accept: str | None, html: bool) -> None:
    """HTML is sent only to clients that prefer it, such as browsers."""
    headers = {} if accept is None else {"Accept": accept}
    response = error_response(RequestFactory().get("/", headers=headers), DOWN)

    assert response is not None
    assert response.headers["Content-Type"].startswith("text/html" if html else PROBLEM)


@pytest.mark.parametrize(
    "error", [InvalidContext("no"), AccessDenied("no"), InstanceNotFound("no"), CacheError("no")]
)
def test_django_answers_browsers_itself(error: Any) -> None:
    """Browsers get Django's own error pages."""
    request = RequestFactory().get("/", headers={"Accept": BROWSER})

    assert error_response(request, error) is None


@pytest.mark.parametrize("path", VIEWS)
@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize(("instance", "status"), [(None, 400), ("acme", 403), ("gone", 404)])
def test_browser_gets_djangos_page(
    sam: User, path: str, is_async: bool, instance: str | None, status: int
) -> None:
    """A browser gets Django's page, with the same status and ``no-store``."""
    response = Caller(is_async=is_async).login(sam)(path, instance, accept=BROWSER)

    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.headers["Cache-Control"] == NO_STORE


def test_browser_gets_a_plain_503(olga: User, service: DictConfigService) -> None:
    """A browser gets a plain page for 503, since Django has none."""
    service.failure = DOWN
    response = Caller(is_async=False).login(olga)("plain", "acme", accept=BROWSER)

    assert response.status_code == 503
    assert b"Service Unavailable" in response.content
    assert response.headers["Retry-After"] == "7"
    assert response.headers["Cache-Control"] == NO_STORE


@pytest.mark.urls("tests.support.urls_with_pages")
@pytest.mark.parametrize(("instance", "status"), [("acme", 403), ("gone", 404)])
def test_browser_gets_the_projects_own_pages(sam: User, instance: str, status: int) -> None:
    """``handler403`` and ``handler404`` of the project are called with the error."""
    response = Caller(is_async=False).login(sam)("plain", instance, accept=BROWSER)

    assert response.status_code == status
    assert f"Our own {status}" in response.text
    assert instance in response.text


@pytest.mark.filterwarnings("ignore:.*default mailer")  # a setting of Django 6.1
@pytest.mark.parametrize("accept", ["*/*", BROWSER])
@pytest.mark.parametrize("is_async", CALLERS)
def test_outage_mails_nobody(
    *,
    olga: User,
    service: DictConfigService,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    mailoutbox: list[object],
    is_async: bool,
    accept: str,
) -> None:
    """An outage sends no mail: it is logged once, not for each request."""
    admin = "ada@example.com"
    settings.ADMINS = [("Ada", admin)] if django.VERSION < (6, 0) else [admin]
    service.failure = DOWN
    caller = Caller(is_async=is_async).login(olga)
    monotonic = Monotonic(get_resolver())

    for path in VIEWS:
        assert caller(path, "acme", accept=accept).status_code == 503
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert mailoutbox == []

    service.failure = None
    monotonic.now += 60
    assert caller("broken", "acme").status_code == 500
    assert len(mailoutbox) == 1


@pytest.mark.parametrize(("instance", "status"), [(None, 400), ("acme", 403), ("gone", 404)])
@pytest.mark.parametrize("accept", ["*/*", BROWSER])
def test_refusals_are_logged_as_djangos_own(
    sam: User, caplog: pytest.LogCaptureFixture, instance: str | None, status: int, accept: str
) -> None:
    """Each refusal is logged once as a warning of ``django.request``."""
    Caller(is_async=False).login(sam)("plain", instance, accept=accept)

    records = [record for record in caplog.records if record.name == "django.request"]
    assert [(record.levelname, vars(record)["status_code"]) for record in records] == [
        ("WARNING", status)
    ]


@pytest.mark.parametrize("is_async", CALLERS)
def test_head_has_the_headers_and_no_body(sam: User, is_async: bool) -> None:
    """A refused HEAD request has the same headers as a refused GET request."""
    caller = Caller(is_async=is_async).login(sam)
    got, head = (caller("owners", "acme", method=method) for method in ("get", "head"))

    assert head.status_code == 403
    assert head.content == b""
    assert dict(head.headers) == dict(got.headers)


@pytest.mark.parametrize("accept", ["*/*", BROWSER])
@pytest.mark.parametrize("path", ["plain", "arequired"])
@pytest.mark.parametrize("instance", ["acme", None], ids=["instance", "project"])
def test_concealed_denial_reads_like_absence(
    *, sam: User, olga: User, settings: Any, path: str, accept: str, instance: str | None
) -> None:
    """With CONCEAL_DENIED a refusal equals "does not exist" to the byte, headers included."""
    service = serve(settings, CONCEAL_DENIED=True)
    service.instances["acme"], service.projects["shop"] = owned_by(olga), "acme"
    caller = Caller(is_async=False).login(sam)
    headers = {"accept": accept, "x_request_id": "r-1"}
    if instance is None:
        headers["x_project_id"] = "shop"

    denied = caller(path, instance, **headers)
    service.instances.clear()
    service.projects.clear()
    get_resolver().invalidate_all_caches()
    absent = caller(path, instance, **headers)

    assert denied.status_code == absent.status_code == 404
    assert denied.content == absent.content
    assert dict(denied.headers) == dict(absent.headers)


@pytest.mark.parametrize("accept", ["*/*", BROWSER])
@pytest.mark.parametrize("path", ["broken", "plain", "required", "cache_broken"])
@pytest.mark.parametrize("name", ["olga", "sam"])
def test_debug_page_shows_no_key(
    *, sam: User, olga: User, settings: Any, path: str, name: str, accept: str
) -> None:
    """Django's debug page shows no key, though its frames hold requests and configs."""
    settings.DEBUG = True
    caller = Caller(is_async=False).login({"olga": olga, "sam": sam}[name])

    for instance in ("acme", "a,b", "gone"):
        assert SECRET not in caller(path, instance, accept=accept).text


def test_debug_page_shows_the_frames(olga: User, settings: Any) -> None:
    """The debug page shows the config without its key; this proves that the test above works."""
    settings.DEBUG = True
    response = Caller(is_async=False).login(olga)("broken", "acme", accept=BROWSER)

    assert "LazyLookup of request.instance_config" in response.text


class Traced(ResponseHeaders):
    """A project's own headers, which see what is set."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.__dict__.setdefault("seen", []).append(key)


@pytest.mark.parametrize("kind", [Traced, dict])
def test_headers_of_a_projects_own_are_set_through_their_own(kind: Any) -> None:
    """Headers of a project's own class are set with their own setter."""
    state, response = ResponseState(), HttpResponse()
    response.headers = kind({"Content-Type": "text/plain"})
    state.touch(("X-Instance-ID",))

    state.finish(response)

    assert (response.headers["Vary"], response.headers["Cache-Control"]) == (
        "X-Instance-ID",
        "private",
    )
    assert kind is dict or response.headers.seen[-2:] == ["Vary", "Cache-Control"]  # type: ignore[attr-defined]
