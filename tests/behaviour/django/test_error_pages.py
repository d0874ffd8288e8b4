"""Error pages that extend a base template with the tenant's name in it stay what they are."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.template import engines
from django.test import RequestFactory, override_settings
from django.urls import path
from django.views.defaults import page_not_found

from instance_lookup import AccessDenied
from instance_lookup.context_processors import instance
from instance_lookup.request.attributes import attach
from tests.support.doors import BROWSER, CALLERS, Caller, Somebody, lookups, owned_by, serve

if TYPE_CHECKING:
    from django.http import HttpRequest


PROCESSOR = "instance_lookup.context_processors.instance"
BASE = """{% load instance_lookup %}<title>[{{ instance.metadata.name }}]</title>
{% if instance %}in {{ instance.instance_id }}{% endif %}
{% if instance|has_feature:"beta" %}beta{% endif %}
{% for name, on in instance.features.items %}{{ name }}{% endfor %}
{% block body %}{% endblock %}"""
PAGE = '{{% extends "base.html" %}}{{% block body %}}page {status}{{% endblock %}}'
PAGES = {
    "base.html": BASE,
    "page.html": '{% extends "base.html" %}',
    "403_csrf.html": '{% extends "base.html" %}{% block body %}page 403{% endblock %}',
    **{f"{status}.html": PAGE.format(status=status) for status in (400, 403, 404, 500)},
}
ERRORS = {
    "missing": (Http404, 404),
    "denied": (PermissionDenied, 403),
    "bad": (BadRequest, 400),
    "broken": (ZeroDivisionError, 500),
}


def home(request: HttpRequest) -> HttpResponse:
    return render(request, "page.html")


def handled(request: HttpRequest) -> HttpResponse:
    """A view that handles an error and shows its form again."""
    try:
        raise ValueError
    except ValueError:
        return render(request, "page.html")


def without(request: Any) -> HttpResponse:
    """A view that shows its page without an instance."""
    try:
        str(request.instance_config.instance_id)
    except AccessDenied:
        return render(request, "page.html")
    raise AssertionError


def raises(request: HttpRequest, name: str) -> HttpResponse:
    raise ERRORS[name][0]


async def araises(request: HttpRequest, name: str) -> HttpResponse:
    raise ERRORS[name][0]


class _Handlers:
    """Error handlers of the project's own, which render as its views do."""

    def __init__(self, status: int) -> None:
        self.status = status

    def __call__(self, request: HttpRequest, exception: object = None) -> HttpResponse:
        try:
            raise KeyError(self.status)
        except KeyError:  # as one that looks for a page of that name in a database
            return render(request, f"{self.status}.html", status=self.status)


urlpatterns = [
    path("", home),
    path("handled", handled),
    path("without", without),
    path("raises/<name>", raises),
    path("araises/<name>", araises),
]


class own:  # noqa: N801  # a URLconf with handlers of its own
    urlpatterns = urlpatterns
    handler400, handler403, handler404 = _Handlers(400), _Handlers(403), _Handlers(404)
    handler500 = _Handlers(500)


class default:  # noqa: N801
    urlpatterns = urlpatterns


@pytest.fixture(autouse=True)
def _templates(settings: Any) -> None:
    (engine,) = settings.TEMPLATES
    options = {
        "context_processors": [*engine["OPTIONS"]["context_processors"], PROCESSOR],
        "loaders": [("django.template.loaders.locmem.Loader", PAGES)],
    }
    settings.TEMPLATES = [{"BACKEND": engine["BACKEND"], "OPTIONS": options}]
    settings.ROOT_URLCONF = default


@pytest.fixture
def olga(db: None, settings: Any) -> User:
    """The owner of an instance, at a service that knows no other."""
    olga = User.objects.create_user("olga")
    service = serve(settings)
    service.instances["acme"] = owned_by(
        olga, features={"beta": True}, metadata={"owner": str(olga.pk), "name": "Acme"}
    )
    service.instances["down"] = {"api_keys": "not an object"}
    return olga


def ask(path: str, *, is_async: bool, user: User | None = None, instance: str = "acme") -> Any:
    caller = Caller(is_async=is_async)
    if user is not None:
        caller.login(user)
    return caller(path, instance, accept=BROWSER)


def is_empty(response: Any) -> bool:
    """Tell whether the base template showed no tenant."""
    return "[]" in response.text and "in acme" not in response.text and "beta" not in response.text


@pytest.fixture(params=[default, own])
def _both_urlconfs(request: pytest.FixtureRequest, settings: Any) -> None:
    settings.ROOT_URLCONF = request.param


both_urlconfs = pytest.mark.usefixtures("_both_urlconfs")


@both_urlconfs
@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize("as_owner", [True, False])
def test_unknown_path_is_a_404(olga: User, is_async: bool, as_owner: bool) -> None:
    """An unknown path gets a 404 without a lookup, though the base template uses the tenant."""
    response = ask("wp-login.php", is_async=is_async, user=olga if as_owner else None)

    assert response.status_code == 404
    assert "page 404" in response.text
    assert is_empty(response)
    assert lookups() == 0


@both_urlconfs
@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize("view", ["raises", "araises"])
@pytest.mark.parametrize("name", ERRORS)
def test_error_of_a_view_has_its_own_page(olga: User, is_async: bool, view: str, name: str) -> None:
    """An error in a view keeps its own page: the page makes no lookup that could fail."""
    _, status = ERRORS[name]

    response = ask(f"{view}/{name}", is_async=is_async)

    assert response.status_code == status
    assert f"page {status}" in response.text
    assert is_empty(response)
    assert lookups() == 0


@both_urlconfs
@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize(
    ("instance", "status"), [("a,b", 400), ("acme", 403), ("gone", 404), ("down", 503)]
)
def test_failed_lookup_has_its_own_page(
    olga: User, is_async: bool, instance: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The page of a failed lookup does not look the instance up again."""
    sam = User.objects.create_user("sam")

    with caplog.at_level(logging.WARNING):
        response = ask("", is_async=is_async, user=sam, instance=instance)

    assert response.status_code == status
    assert status == 503 or (f"page {status}" in response.text and is_empty(response))
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def refusing(get_response: Any) -> Any:
    """A middleware that refuses before or after the view, as ``?refuse=`` says."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.GET.get("refuse") == "before":
            raise PermissionDenied
        response: HttpResponse = get_response(request)
        if request.GET.get("refuse") == "after":
            raise PermissionDenied
        return response

    return middleware


class RefusingView:
    """A middleware that refuses between the URL and its view, as decorators of sites do."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *args: Any) -> None:
        if request.GET.get("refuse") == "view":
            raise PermissionDenied


@both_urlconfs
@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize("place", ["before", "view", "after"])
@pytest.mark.parametrize("is_inner", [True, False])
def test_error_of_a_middleware_has_its_own_page(
    olga: User, settings: Any, is_async: bool, place: str, is_inner: bool
) -> None:
    """An error of a middleware inside or outside of ours has its own page."""
    ours = settings.MIDDLEWARE
    theirs = [
        f"tests.behaviour.django.test_error_pages.{name}" for name in ("refusing", "RefusingView")
    ]
    settings.MIDDLEWARE = [*ours, *theirs] if is_inner else [*theirs, *ours]

    response = ask(f"handled?refuse={place}", is_async=is_async, user=olga)

    assert response.status_code == 403
    assert "page 403" in response.text
    assert is_empty(response)


def csrf_page(request: HttpRequest, reason: str = "") -> HttpResponse:
    return render(request, "403.html", status=403)


@both_urlconfs
@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize("view", ["django.views.csrf.csrf_failure", f"{__name__}.csrf_page"])
def test_form_without_a_token_has_its_own_page(
    olga: User, settings: Any, is_async: bool, view: str
) -> None:
    """A form without a CSRF token keeps its own page, which a middleware makes."""
    settings.CSRF_FAILURE_VIEW = view
    settings.MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware", *settings.MIDDLEWARE]
    caller = Caller(is_async=is_async).login(olga)
    caller.client.handler.enforce_csrf_checks = True

    response = caller("", "acme", method="post", accept=BROWSER)

    assert response.status_code == 403
    assert "page 403" in response.text
    assert is_empty(response)
    assert lookups() == 0


@pytest.mark.parametrize("is_async", CALLERS)
@pytest.mark.parametrize("page", ["", "handled"])
def test_page_of_a_view_shows_its_instance(olga: User, is_async: bool, page: str) -> None:
    """A page shows its instance although the view has handled another error."""
    response = ask(page, is_async=is_async, user=olga)

    assert "[Acme]" in response.text
    assert "in acme" in response.text
    assert "beta" in response.text


@pytest.mark.parametrize("is_async", CALLERS)
def test_page_after_a_failed_lookup_is_empty(olga: User, is_async: bool) -> None:
    """After a failed lookup that the view handled, the page is shown without an instance."""
    response = ask("without", is_async=is_async)

    assert response.status_code == 200
    assert is_empty(response)


def test_page_of_the_next_user_is_not_empty(olga: User) -> None:
    """A failed lookup of an earlier user does not empty the page of the next user."""
    request: Any = RequestFactory().get("/", headers={"X-Instance-ID": "acme"})
    request.user = Somebody("sam")
    attach(request)
    assert without(request).status_code == 200

    request.user = olga

    assert "[Acme]" in home(request).text


@pytest.mark.parametrize("request_", [None, {}, {"META": {}}, object()])
def test_page_without_a_request_is_empty(request_: Any) -> None:
    """A template without a request (an e-mail, a test) is rendered without an instance."""
    assert not instance(request_)["instance"]
    template = engines["django"].get_template("page.html")

    assert "[]" in template.render({}, request_)


EMPTY = {
    "{{ instance }}": "",
    "{{ instance.metadata.name }}": "",
    "{{ instance.features.beta }}": "",
    "{{ instance.worker_urls.render }}": "",
    '{{ instance.metadata.name|default:"nobody" }}': "nobody",
    "{{ instance.features|length }}": "0",
    '{{ instance.features|join:", " }}': "",
    "{% if instance %}yes{% else %}no{% endif %}": "no",
    "{% if instance.metadata.owner == '1' %}yes{% else %}no{% endif %}": "no",
    "{% for name in instance.features %}x{% empty %}none{% endfor %}": "none",
    "{% for name, on in instance.features.items %}x{% empty %}none{% endfor %}": "none",
    '{% load instance_lookup %}{{ instance|has_feature:"beta" }}': "False",
}


@pytest.mark.parametrize(("source", "text"), EMPTY.items())
@pytest.mark.parametrize("invalid", ["", "INVALID %s"])
def test_empty_instance_shows_nothing(settings: Any, source: str, text: str, invalid: str) -> None:
    """An empty instance shows nothing, also where the site shows undefined variables."""
    (engine,) = settings.TEMPLATES
    options = {**engine["OPTIONS"], "string_if_invalid": invalid}
    with override_settings(TEMPLATES=[{**engine, "OPTIONS": options}]):
        assert engines["django"].from_string(source).render(instance(None)) == text


def test_empty_instance_is_no_container_of_anything() -> None:
    """An empty instance does not answer Python's own protocols, such as ``__html__``."""
    empty = instance(None)["instance"]

    assert not hasattr(empty, "__html__")
    assert str(empty.metadata.name) == ""


def test_handler_called_by_hand_outside_of_an_error_looks_up(olga: User) -> None:
    """A view may show Django's 404 page for what it did not find, to who may be here."""
    request: Any = RequestFactory().get("/", headers={"X-Instance-ID": "acme"})
    request.user = olga

    assert "[Acme]" in page_not_found(request, Http404()).text


def test_filter_takes_an_undefined_variable() -> None:
    """Django renders its own 400 and 500 pages without context processors."""
    source = (
        '{% load instance_lookup %}{% if instance|has_feature:"beta" %}on{% else %}off{% endif %}'
    )

    assert engines["django"].from_string(source).render({}) == "off"
